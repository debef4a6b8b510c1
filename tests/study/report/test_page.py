"""The page as a file: what stands in it, what cannot break it, how large it may get."""

import base64
import hashlib
import itertools
import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from fake_plugins import open_site

import edifice_tt as et
from edifice_tt.study.report import problems
from edifice_tt.study.report.page import render_report

site = pytest.fixture(open_site, name="site")

EVIL = "</script><img src=x onerror=\"document.title='broken'\"><!--data--><script>"


def make_pools(count=3, text="so it is {}", **options):
    """Problem i of `count` has i right candidates of 3; the scorer likes the last ones."""
    for i in range(count):
        candidates = tuple(
            et.Candidate(
                index,
                text.format(index),
                finish_reason="eos",
                answer="7" if index < i else "8",
                correct=index < i,
                num_tokens=11,
                seconds=0.5,
                scores={"judge": (index + 1) / 5},
            )
            for index in range(3)
        )
        yield et.Pool(
            f"What is {i}?", candidates, {"model": "tiny"}, f"p{i}", "7", {"judge": "probability"}
        )


def render(pools, rules=("oracle", "best_of_n", "majority", "random"), pool="a.jsonl", **options):
    pools = list(pools)
    curve = et.scaling_curve(pools, rules, bootstrap=50, pool=pool)
    return render_report(curve, pools, **options).decode()


def data_of(page):
    (block,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', page)
    return json.loads(block)


class Elements(HTMLParser):
    """Every element of a page with its attributes."""

    def __init__(self, page):
        super().__init__()
        self.found = []
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))

    def all(self, tag):
        return [attributes for name, attributes in self.found if name == tag]


def test_the_page_asks_for_nothing_from_elsewhere():
    elements = Elements(render(make_pools()))
    assert not {"link", "img", "iframe", "object", "embed", "form"} & {t for t, _ in elements.found}
    for tag, attributes in elements.found:
        assert not {"src", "srcset", "style", "action"} & set(attributes), tag
        assert not [name for name in attributes if name.startswith("on")], tag
        assert attributes.get("href", "#").startswith("#")


def test_the_policy_allows_this_style_and_this_script_alone():
    page = render(make_pools())
    (policy,) = (a["content"] for a in Elements(page).all("meta") if "http-equiv" in a)
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy
    script = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    style = re.findall(r"<style>(.*?)</style>", page, re.DOTALL)
    for (text,), kind in ((script, "script-src"), (style, "style-src")):
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{kind} 'sha256-{digest}'" in policy


def test_no_text_of_a_pool_can_leave_its_place():
    pools = [
        et.Pool(EVIL, one.candidates, {"model": EVIL}, EVIL + one.problem, EVIL)
        for one in make_pools(text=EVIL + "{}")
    ]
    plain, page = render(make_pools()), render(pools, pool=EVIL)
    assert "<img" not in page
    assert page.lower().count("</script") == plain.lower().count("</script") == 2
    (first, *_) = data_of(page)["problems"]
    assert (first["id"], first["prompt"], first["gold"]) == (EVIL + "p0", EVIL, EVIL)
    assert (first["line"], first["turns"]) == (EVIL, [["", EVIL]])
    assert first["candidates"][0]["text"] == EVIL.replace("{}", "") + "0"


def test_half_a_character_does_not_stop_the_report():
    assert (
        data_of(render(make_pools(text="\ud800{}")))["problems"][0]["candidates"][0]["text"] == "?0"
    )


def test_the_same_pool_gives_the_same_bytes():
    assert render(make_pools()) == render(make_pools())


def test_every_marker_of_the_template_is_filled():
    assert not re.search(r"<!--\w+-->|@policy@", render(make_pools()))


def test_the_data_hold_the_curve_and_every_candidate():
    pools = list(make_pools())
    data = data_of(render(pools))
    assert data["curve"]["kind"] == "curve"
    assert data["choices"] == ["best_of_n \N{MIDDLE DOT} judge", "majority"]
    assert [one["right"] for one in data["problems"]] == [0, 1, 2]
    assert [one["line"] for one in data["problems"]] == ["What is 0?", "What is 1?", "What is 2?"]
    assert data["problems"][2]["chosen"] == [2, 0]
    assert data["problems"][2]["candidates"][1] == {
        "index": 1,
        "text": "so it is 1",
        "answer": "7",
        "right": True,
        "tokens": 11,
        "seconds": 0.5,
        "end": "eos",
        "scores": [0.4],
    }


def test_the_report_marks_where_an_answer_was_read():
    pools = [et.grade(pool, "number") for pool in make_pools(1, text="\N{GRINNING FACE} 5 or {}.")]
    found = data_of(render(pools))["problems"][0]["candidates"]
    assert [one["read"] for one in found] == [[8, 9]] * 3  # a face counts as two in a script


def test_a_rule_without_a_choice_is_null_and_the_extractor_is_the_curves():
    pools = list(make_pools(text="so {}"))
    curve = et.scaling_curve(pools, ["majority", "random"], bootstrap=10, answer="number")
    page = render_report(curve, pools, answer="regex:nothing").decode()
    assert [one["chosen"] for one in data_of(page)["problems"]] == [[None]] * 3
    page = render_report(curve, pools, answer="number").decode()
    assert [one["chosen"] for one in data_of(page)["problems"]] == [[0]] * 3


def test_the_headline_names_the_best_rule_that_does_not_know_what_is_right():
    page = render(make_pools())
    heading = re.search(r"<h1>(.*?)</h1>", page)[1]
    assert "<em>majority</em> is right 33.3% of the time with 3 candidates" in heading
    assert "66.7% of the problems" in page  # the oracle's, in the words below
    assert re.search(r"</h1>\n<p .*>That is 1 of 3 problems \(95% interval \S+% to \S+%\)\.", page)


def test_a_report_says_when_no_rule_is_shown_to_be_better():
    page = render(make_pools())
    told = "No rule is shown to be better than majority with 3 candidates: no 95% interval"
    assert told in page
    assert page.index(told) < page.index("To see a difference of 2 points") < page.index("<main>")
    best = [
        et.Pool(
            "q",
            tuple(replace(c, answer=str(c.index), correct=c.index == 2) for c in pool),
            {},
            str(i),
        )
        for i, pool in enumerate([*make_pools()] * 9)
    ]
    assert "No rule is shown" not in render(best)  # where the best score is always right


def test_the_report_is_bounded_and_says_what_is_left_out(monkeypatch):
    monkeypatch.setattr(problems, "MOST_PROBLEMS", 2)
    monkeypatch.setattr(problems, "MOST_OF_A_TEXT", 5)
    monkeypatch.setattr(problems, "MOST_OF_A_PROBLEM", 2 * (problems._FIELDS + 5 + 1))
    page = render(make_pools(), ["best_of_n"])
    data = data_of(page)
    assert [one["id"] for one in data["problems"]] == ["p0", "p1"]
    # Two have room; the third is there because it was chosen.
    assert [c["index"] for c in data["problems"][0]["candidates"]] == [0, 1, 2]
    assert data["problems"][0]["candidates"][0]["text"] == "so it\n[... 5 characters left out]"
    # The prompt, the same as the only turn, and three candidates of each.
    assert data["problems"][0]["prompt"] == "What \n[... 5 characters left out]"
    assert "The first 2 of 3 problems are here, 10 long texts cut; <code>--all</code>" in page
    page = render(make_pools(), ["majority"])
    assert [c["index"] for c in data_of(page)["problems"][0]["candidates"]] == [0, 1]
    assert "2 candidates of them left out" in page
    everything = data_of(render(make_pools(), ["majority"], everything=True))["problems"]
    assert [c["text"] for c in everything[2]["candidates"]] == [f"so it is {i}" for i in range(3)]


def test_a_list_of_chats_shows_questions_and_the_prompt_is_there_too():
    system = [{"role": "system", "content": "Be brief."}]
    pools = [
        replace(
            pool,
            prompt=f"<s>Be brief. Q: {pool.prompt}",
            messages=[*system, {"role": "user", "content": pool.prompt}],
        )
        for pool in make_pools()
    ]
    (first, *_) = data_of(render(pools))["problems"]
    assert first["line"] == "What is 0?"
    assert first["turns"] == [["system", "Be brief."], ["user", "What is 0?"]]
    assert first["prompt"] == "<s>Be brief. Q: What is 0?"


def test_a_list_of_problems_after_the_same_examples_shows_where_they_differ():
    shown = "1 + 1 = 2\n2 + 2 = 4\n3 + 3 = 6\n4 + 4 = 8\n5 + 5 = 10\n"
    pools = [replace(pool, prompt=f"{shown}{i} + 7 =") for i, pool in enumerate(make_pools())]
    problems = data_of(render(pools))["problems"]
    assert [one["line"] for one in problems] == ["... 0 + 7 =", "... 1 + 7 =", "... 2 + 7 ="]


def test_no_more_of_a_stream_is_read_than_is_shown(monkeypatch):
    monkeypatch.setattr(problems, "MOST_CHARACTERS", 1)
    pools = list(make_pools())
    curve = et.scaling_curve(pools, ["majority"], bootstrap=10)
    stream = iter(pools)
    render_report(curve, stream)
    assert [one.problem for one in stream] == ["p2"]  # the second was looked at and not kept


@pytest.mark.parametrize("seconds", [0.5, None])
def test_the_axis_can_be_switched_to_every_cost_that_is_known(seconds):
    page = render(_timed(seconds), ["majority"])
    axes = {a["id"] for a in Elements(page).all("input") if a.get("name") == "x"}
    assert axes == {"x-k", "x-tokens"} | ({"x-seconds"} if seconds else set())


def _timed(seconds):
    for pool in make_pools():
        candidates = (
            et.Candidate(c.index, c.text, correct=c.correct, num_tokens=11, seconds=seconds)
            for c in pool
        )
        yield et.Pool(pool.prompt, tuple(candidates), {}, pool.problem)


def test_one_candidate_a_problem_is_enough():
    pools = [
        et.Pool("q", (et.Candidate(0, "a", correct=i > 0, num_tokens=0),), {}, f"p{i}")
        for i in range(2)
    ]
    page = render(pools, ["majority"])
    assert "50.0% of the time with 1 candidate</h1>" in page
    assert not re.search(r"\b(nan|inf)\b", page)


def test_every_chart_has_a_name_and_every_point_tells_its_numbers():
    page = render(make_pools())
    charts = [a for a in Elements(page).all("svg") if a.get("role") == "img"]
    assert len(charts) == 5
    assert all(chart["aria-label"] for chart in charts)
    titles = re.findall(r"<title>majority, k = 3: 33.3%, [\d.]+% to [\d.]+%</title>", page)
    assert len(titles) == 2  # in the wide chart and in the narrow one


DRAWS = """
import edifice_tt

@edifice_tt.hookimpl
def register_selectors(register):
    register("drawn", draw)
    register("sure", lambda candidates, scorer: edifice_tt.select(candidates, "best_of_n"),
             needs="logit")

def draw(candidates, seed=5):
    chosen = edifice_tt.select(candidates, "random", seed=seed)
    return edifice_tt.Choice(chosen.candidate, "drawn", {})
"""


def test_a_page_shows_the_choices_of_select_of_a_rule_that_draws_too(site):
    """Each problem has draws of its own, mixed of the seed and its id."""
    site.install("draws", DRAWS)
    pools = list(make_pools(7))
    chosen = [problem["chosen"] for problem in data_of(render(pools, ["drawn"]))["problems"]]
    assert chosen == [[et.select(pool, "drawn").index] for pool in pools]
    assert len({index for (index,) in chosen}) > 1


def test_a_page_asks_no_rule_for_scores_that_it_cannot_use(site):
    site.install("draws", DRAWS)
    pools = [replace(pool, ranges={"judge": "logit"}) for pool in make_pools(3)]
    curve = et.scaling_curve(pools, ["sure"], bootstrap=10)
    assert [p["chosen"] for p in data_of(render_report(curve, pools).decode())["problems"]] == [
        [2],
        [2],
        [2],
    ]
    refused = [replace(pool, ranges={"judge": "probability"}) for pool in pools]
    page = render_report(curve, refused).decode()
    assert [problem["chosen"] for problem in data_of(page)["problems"]] == [[None]] * 3


def trained(count, total):
    """Pools whose scorer is always right, and was trained on the first `count` of them."""
    for at, pool in enumerate(make_pools(total)):
        right = [float(not c.correct) / 2 for c in pool]
        pool = pool.with_scores("judge", right, range="probability")
        yield pool.with_scores("pupil", [float(c.correct) for c in pool], seen=at < count)


def headline_of(page):
    return re.search(r"<h1>(.*?)</h1>", page)[1]


def test_a_scorer_that_was_trained_on_these_problems_does_not_lead_and_is_told():
    page = render(trained(2, 4), ("best_of_n", "majority"))
    assert "majority" in headline_of(page)
    said = "was trained on 2 of these 4 problems"
    assert f"<li>pupil {said}: how it does there says nothing about new ones.</li>" in page
    # In the key, in the numbers, in the comparison and at the scorer.
    assert page.count(f"<small>{said}</small>") == 4
    assert "best_of_n · pupil† 75.0%</text>" in page
    assert "best_of_n · judge 25.0%</text>" in page
    assert "† Its scorer was trained on some of these problems." in page
    assert "†" not in render(trained(0, 4), ("best_of_n", "majority"))
    assert "best_of_n · pupil" in headline_of(render(trained(0, 4), ("best_of_n", "majority")))


def test_where_every_rule_has_learnt_these_problems_the_headline_says_so():
    curve = et.scaling_curve(list(trained(2, 4)), ["best_of_n"], scorers=["pupil"], bootstrap=9)
    page = render_report(curve, trained(2, 4)).decode()
    assert headline_of(page).startswith(
        "Every rule here follows a scorer that was trained on these"
    )
    assert "%" not in headline_of(page)


def test_a_page_says_how_its_intervals_were_made_and_that_one_problem_has_none():
    page = render(make_pools())
    assert "Whiskers are 95% intervals over problems: a bootstrap, and at least as wide as" in page
    one = render(itertools.islice(make_pools(), 1))
    assert "One problem has no interval." in one
    assert "Whiskers" not in one


def test_a_name_too_long_for_the_chart_keeps_its_beginning_and_its_end():
    name = "a-judge-of-a-very-long-name:reduce=last"
    pools = [pool.with_scores(name, [0.1, 0.2, 0.3]) for pool in make_pools()]
    page = render(pools, ["best_of_n"])
    (label,) = (one for one in re.findall(r'"label"[^>]*>([^<]*)</text>', page) if "…" in one)
    assert label.startswith("best_of_n · a-judge")
    assert label.endswith("duce=last 0.0%")
    assert f"<title>best_of_n · {name}</title>" in page


def test_of_many_rules_the_whiskers_stay_near_their_k_and_the_names_apart():
    pools = list(make_pools())
    for name in "abcdefghijklm":
        pools = [pool.with_scores(name, [0.1, 0.2, 0.3], range="probability") for pool in pools]
    page = render(pools, ["best_of_n", "weighted"])
    (chart,) = re.findall(r'<svg class="chart wide".*?</svg>', page, re.DOTALL)
    places = [float(x) for x in re.findall(r'class="whisker" d="M([\d.]+),', chart)]
    ks = [float(x) for x in re.findall(r'class="tick middle" x="([\d.]+)"', chart)]
    assert len(places) == 28 * 3
    assert max(min(abs(x - k) for k in ks) for x in places) <= 10.1
    names = [float(y) for y in re.findall(r'class="label" x="[\d.]+" y="(-?[\d.]+)"', chart)]
    assert len(names) == 28
    assert min(names) > 10
    assert min(b - a for a, b in itertools.pairwise(sorted(names))) > 18.9


def test_a_circle_at_the_edge_of_a_chart_covers_no_number():
    pools = [
        pool.with_scores("judge", [0.0, 0.25, 1.0], range="probability") for pool in make_pools()
    ]
    wrong = [
        replace(pool, candidates=tuple(replace(c, correct=False) for c in pool)) for pool in pools
    ]
    page = render(wrong, ["best_of_n"])
    circles = [a for a in Elements(page).all("circle") if a.get("class") == "bubble"]
    assert len(circles) == 3
    numbers = [float(a["y"]) for a in Elements(page).all("text") if a["class"] == "tick middle"]
    for circle in circles:  # the figures of a tick are less than 10 high
        assert float(circle["cy"]) + float(circle["r"]) < min(y for y in numbers if y < 300) - 9


def test_a_report_tells_of_answers_that_were_cut_off():
    """And its choices are those of the curve, whichever way that counts them."""
    ends = ("length", "length", "eos")
    candidates = tuple(
        et.Candidate(i, "8" if end == "length" else "7", finish_reason=end, correct=end == "eos")
        for i, end in enumerate(ends)
    )
    pools = [et.Pool("q", candidates, {"max_tokens": 5}, str(i), "7") for i in range(2)]
    for how, chosen, other in (("abstain", 2, "0.000"), ("vote", 0, "1.000")):
        curve = et.scaling_curve(pools, ["majority"], bootstrap=9, cut_off=how)
        page = render_report(curve, pools).decode()
        assert "<li>4 of 6 answers (67%) were cut off at 5 tokens; --max-tokens allows" in page
        assert "Right are 0 of these, and 2 of the other 2.</li>" in page
        assert (
            f"<li>In votes they {how}. Accuracy with 3 candidates, and in brackets if they could "
            in page
        )
        assert f"({other}).</li>" in page
        assert [one["chosen"] for one in data_of(page)["problems"]] == [[chosen]] * 2
