"""Extractors of plugins: held to the rules of all, and whatever they do wrong is one error."""

import sys
from dataclasses import fields
from inspect import signature

import pytest
from fake_plugins import open_site

import edifice_tt as et
from edifice_tt import cli
from edifice_tt.contract import plugins, registry
from edifice_tt.contract.errors import PluginError, PluginWarning
from edifice_tt.sampling.request import Request
from edifice_tt.selection.answers import find_answers
from edifice_tt.selection.rules import answers_of
from edifice_tt.testing import BrokenPromise, check_answers

site = pytest.fixture(open_site, name="site")

PLUGIN = """
import edifice_tt
asked = []

def near(answer, other):  # not transitive: 1 is near 2, 2 is near 3, 1 is not near 3
    asked.append((answer, other))
    return abs(int(answer) - int(other)) <= 1

@edifice_tt.hookimpl
def register_answers(register):
    register("odd", {function}, equal={equal}, summary="a number that may be off by one")
"""
DEFAULTS = signature(et.generate).parameters.items()
FIELDS = {field.name for field in fields(Request)}
NUMBER = "lambda text: ''.join(filter(str.isdigit, text)) or None"


def install(site, function=NUMBER, equal="near"):
    site.install("odd", PLUGIN.format(function=function, equal=equal))


def pool_of(*texts, **about):
    return et.Pool("q", tuple(map(et.Candidate, range(len(texts)), texts)), **about)


def test_thinking_is_no_part_of_what_it_reads(site):
    install(site)
    assert et.extractor("odd")("<think>7, or 8?</think> 9") == "9"
    assert et.extractor("odd")("<think>7, or 8") is None


def test_the_gold_answer_is_read_by_it_or_stands_as_it_is(site):
    install(site, "lambda text: text[3:] if text.startswith('is ') else None", "None")
    for gold in ("is 7", " 7 "):
        marked = et.grade(pool_of("is 7", "7", "is 8", gold=gold), "odd")
        assert [(c.answer, c.correct) for c in marked] == [("7", True), ("", False), ("8", False)]


def test_its_own_equality_decides_what_is_right(site):
    install(site)
    marked = et.grade(pool_of("5", "6", "7", "9", "none", gold="about 7"), "odd")
    assert [c.correct for c in marked] == [False, True, True, False, False]


def test_an_answer_joins_the_first_group_whose_first_answer_it_equals(site):
    """In the order of the indices, whatever that of the candidates."""
    install(site)
    pool = pool_of("2", "3", "1", "4", "4", "none")
    groups = {"2": [0, 1, 2], "4": [3, 4]}
    for candidates in (pool.candidates, pool.candidates[::-1]):
        found = et.group_by_answer(candidates, "odd")
        assert {answer: [c.index for c in group] for answer, group in found.items()} == groups
        choice = et.select(candidates, "majority", answer="odd")
        assert (choice.index, choice.tally, choice.abstained) == (0, {"2": 3.0, "4": 2.0}, 1)
    backwards = [None, "4", "4", "2", "2", "2"]
    assert answers_of(pool.candidates[::-1], "odd") == backwards
    scored = pool.with_scores("s", [0.25, 0.25, 0.25, 0.5, 0.5, 1.0], range="probability")
    assert et.select(scored, "weighted", answer="odd").tally == {"2": 0.75, "4": 1.0}


def test_a_curve_groups_answers_as_the_rules_do(site):
    install(site)
    pool = et.grade(pool_of("2", "3", "7", "7", gold="2"), "odd")
    curve = et.scaling_curve([pool], ["majority", "random"], [4], answer="odd")
    assert [rule.accuracy for rule in curve.rules] == [(0.5,), (0.5,)]  # tied: 2 and 3, 7 and 7
    assert et.scaling_curve([pool], ["majority"], [4], answer="number").rules[0].accuracy == (0.0,)


def test_the_command_line_takes_its_name(site, tmp_path, capsys):
    install(site)
    path = tmp_path / "pool.jsonl"
    pool_of("5", "6 or so", "none", gold="6").save(path)
    assert cli.main(["grade", str(path), "--answer", "odd"]) == 0
    assert "2 of 3 candidates" in capsys.readouterr().out
    assert cli.main(["select", str(path), "--rule", "majority", "--answer", "odd"]) == 0
    assert capsys.readouterr().out == "5\n"
    assert cli.main(["curve", str(path), "--answer", "odd", "--rules", "majority"]) == 0
    assert cli.main(["grade", str(path), "--answer", "od"]) == 2
    assert "unknown answer extractor 'od'; did you mean 'odd' or" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("function", "equal", "message"),
    [
        (
            "lambda text: 1 / 0",
            "None",
            r"failed on '6': ZeroDivisionError: division by zero \(odd\.py, line \d+\)$",
        ),
        ("lambda text: exit()", "None", r"failed on '6': SystemExit"),
        ("lambda text: 5", "None", r"gave 5, expected a str or None$"),
        ("lambda text: b'5'", "None", r"gave b'5', expected a str or None$"),
        (NUMBER, "lambda answer, other: 1 / 0", r"equal failed on '5' and '6': ZeroDivisionError"),
        (NUMBER, "lambda answer, other: None", r": equal gave None, expected True or False$"),
    ],
)
def test_whatever_goes_wrong_in_it_is_one_error_that_names_the_owner(
    site, function, equal, message
):
    install(site, function, equal)
    who = r"^answer extractor 'odd' of odd 1\.0:? ?"
    with pytest.raises(PluginError, match=r"'6'\): " + who[1:] + message):
        et.grade(pool_of("5", gold="6"), "odd")
    with pytest.raises(PluginError, match=who):
        et.select(pool_of("5", "6"), "majority", answer="odd")
    marked = et.Pool("q", tuple(et.Candidate(i, t, correct=True) for i, t in enumerate("56")))
    with pytest.raises(PluginError, match=who):
        et.scaling_curve([marked], ["majority"], answer="odd")


def test_a_right_answer_that_was_not_extracted_is_named_where_equal_fails(site, tmp_path, capsys):
    """It is compared as it stands, which an `equal` of extracted answers may not expect."""
    install(
        site,
        "lambda text: '2 kg' if 'kg' in text else None",
        "lambda *both: dict(map(str.split, both)) != {}",
    )
    pool = et.Pool("q", (et.Candidate(0, "2 kg"),), problem="p7", gold="5")
    words = r"problem 'p7' \(its right answer is '5'\): answer extractor 'odd' of odd 1\.0: "
    words += r"equal failed on '2 kg' and '5': ValueError: dictionary .* \(odd\.py, line"
    with pytest.raises(PluginError, match=words):
        et.grade(pool, "odd")
    pool.save(tmp_path / "pool")
    assert cli.main(["grade", str(tmp_path / "pool"), "--answer", "odd"]) == 2
    assert f"{tmp_path / 'pool'}, line 2: problem 'p7'" in capsys.readouterr().err
    with pytest.raises(BrokenPromise, match="in equal on '2 kg' and 'unknown', a right answer"):
        check_answers("odd", texts=["2 kg"])


def test_a_function_is_an_extractor_wherever_a_name_is(site):
    def last(text):
        return text.split()[-1] if text.split() else None

    pool = et.grade(et.Pool("q", pool_of("so 5", "5", "6").candidates, gold="it is 5"), last)
    assert [one.correct for one in pool] == [True, True, False]
    assert et.select(pool, "majority", answer=last).tally == {"5": 2.0, "6": 1.0}
    assert list(et.group_by_answer(pool.candidates, last)) == ["5", "6"]
    assert et.extractor(last)("<think>7</think> so 8") == "8"
    with pytest.raises(PluginError, match=r"answer extractor 'function <lambda>' gave 3, expected"):
        et.select(pool, "majority", answer=lambda text: 3)
    with pytest.raises(ValueError, match="answer=7 is neither an extractor's name nor a function"):
        et.select(pool, "majority", answer=7)
    with pytest.raises(ValueError, match="so it must be an extractor's name"):
        Request(
            **{name: one.default for name, one in DEFAULTS if name in FIELDS} | {"answer": last}
        )


def test_a_function_reads_answers_in_curves_replay_and_searches():
    def last(text: str) -> str:
        return text.split()[-1]

    pool = et.grade(et.Pool("q", pool_of("so 5", "5", "6").candidates, gold="it is 5"), last)
    curve = et.scaling_curve([pool], ["majority"], [3], answer=last, bootstrap=2)
    assert curve.rules[0].accuracy == (1.0,)
    apart = et.scaling_curve([pool], ["majority"], [3], answer="text", bootstrap=2)
    assert apart.rules[0].accuracy == (pytest.approx(2 / 3),)
    assert et.replay([pool], "first", answer=last, bootstrap=2).all.accuracy == 1.0
    found = et.run_search(
        et.make_search("first", n=3),
        lambda ask: [et.Row(i, pool[i].text, num_tokens=1, ended=True) for i in ask.rows],
        answer=last,
    )
    assert found.outcome.tally == {"5": 2.0, "6": 1.0}


@pytest.mark.parametrize("found", ["''", "' \\n'"])
def test_blanks_are_no_answer(site, found):
    install(site, f"lambda text: {found}", "None")
    assert et.extractor("odd")("5") is None


def test_equal_answers_are_asked_for_once_and_the_same_never(site):
    install(site)
    pool = pool_of("2", "3", "2", "3")
    with registry.one_registry():  # for as long as no plugin comes or goes
        for _ in range(3):
            et.group_by_answer(pool.candidates, "odd")
    assert sys.modules["odd"].asked == [("3", "2")]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("number", "extractor 'number' is registered by edifice-tt and claimed again by odd 1.0"),
        ("regex:x", "extractor 'regex:x': a name must have no ':'; use letters, digits, - and _"),
    ],
)
def test_a_name_that_is_taken_leaves_its_plugin_out(site, name, reason):
    site.install("odd", PLUGIN.format(function="str", equal="None").replace('"odd"', f'"{name}"'))
    with pytest.warns(PluginWarning) as warned:
        assert et.extractor("number")("7") == "7"
    assert reason in str(warned[0].message)


def test_what_is_no_function_leaves_its_plugin_out(site):
    install(site, equal="7")
    with pytest.warns(PluginWarning, match="extractor 'odd': equal=7 is not callable"):
        assert "odd" not in et.list_extractors()


# --- the price of asking


@pytest.fixture
def scans(monkeypatch):
    """How often plugins are asked, in surroundings that are never settled."""
    monkeypatch.setattr(plugins, "_SETTLED", 10**18 * 5)
    found = []
    ask = registry._ask_plugins
    monkeypatch.setattr(registry, "_ask_plugins", lambda: found.append(1) or ask())
    return found


def test_a_command_asks_the_plugins_once_for_many_problems(scans, tmp_path):
    path = tmp_path / "pool.jsonl"
    pools = [pool_of("5", "6", gold="6", problem=str(i)) for i in range(7)]
    et.write_pools(path, pools)
    assert cli.main(["grade", str(path), "--answer", "number"]) == 0
    assert len(scans) == 1
    words = ["--rule", "majority", "--answer", "number"]
    assert cli.main(["select", str(path), *words]) == 0
    assert len(scans) == 2


def test_a_curve_and_a_choice_ask_the_plugins_once(scans):
    marked = [et.grade(pool_of("5", "6", gold="6", problem=str(i)), "number") for i in range(5)]
    scans.clear()
    et.scaling_curve(marked, ["majority", "random"], answer="number")
    assert len(scans) == 1
    et.select(marked[0], "majority", answer="number")
    assert len(scans) == 2


def test_what_is_held_is_let_go(scans):
    with registry.one_registry(), registry.one_registry():
        find_answers("number")
        find_answers("text")
    assert len(scans) == 1
    find_answers("number")
    assert len(scans) == 2
