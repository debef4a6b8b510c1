"""What a vote has counted is shown: each candidate's answer, and how many gave the same."""

import pytest
from commands import runner

import edifice_tt as et

TEXTS = ["It is 7.", "so 7.0", "It is 8.", "no idea", "7, I think"]
ENDS = ["eos", "eos", "eos", "eos", "length"]


@pytest.fixture
def run(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("EDIFICE_TT_PLUGINS", "")
    return runner(capsys)


@pytest.fixture
def sampled(monkeypatch, tiny_lm):
    """Whatever is asked, these are the candidates."""

    def pool(lm, prompt, **options):
        made = [
            et.Candidate(i, text, (1,), (-1.0 - i,), end)
            for i, (text, end) in enumerate(zip(TEXTS, ENDS, strict=True))
        ]
        return et.Pool("q", tuple(made), {})

    monkeypatch.setattr(et, "load_pretrained", lambda *_, **__: tiny_lm, raising=False)
    monkeypatch.setattr(et, "generate", pool, raising=False)


def column(out, name):
    head, *rows = out[out.index("   #") :].splitlines()
    start = head.index(name)
    return [row[start:].split()[0] for row in rows[: len(TEXTS)]]


def test_best_of_shows_answers_and_votes_of_a_majority(run, sampled):
    given = ("best-of", "q", "-m", "tiny", "--rule", "majority", "--answer", "number")
    status, out, err = run(*given)
    assert (status, err) == (0, "")
    assert column(out, "answer") == ["7", "7", "8", "-", "(7)"]
    assert "votes: 7: 2, 8: 1; 2 abstained\n" in out
    assert "In votes they abstain, unless --cut-off vote is given." in out
    _, out, _ = run(*given, "--cut-off", "vote")
    assert "they abstain" not in out
    assert column(out, "answer")[-1] == "7"
    assert "votes: 7: 3, 8: 1; 1 abstained\n" in out
    assert max(map(len, out.splitlines())) <= 150  # but for the line on what was cut off


def test_a_rule_that_compares_no_answers_shows_none(run, sampled):
    _, out, _ = run("best-of", "q", "-m", "tiny")
    assert "answer" not in out.split("\n\n")[1]
    assert "votes" not in out.replace("In votes they abstain", "")


def test_a_vote_on_whole_texts_counts_them_and_lists_five(run, tmp_path):
    texts = [f"the {word} answer, which is rather a long one" for word in "abcdefg"]
    texts.append(texts[3])
    candidates = tuple(et.Candidate(i, text) for i, text in enumerate(texts))
    et.write_pools(tmp_path / "pool", [et.Pool("q", candidates)])
    status, out, err = run("select", tmp_path / "pool", "--rule", "majority")
    assert (status, out) == (0, f"{texts[3]}\n")
    assert err == (
        "edifice-tt: votes: the d answer, which is rat ...: 2, "
        + ", ".join(f"the {word} answer, which is rat ...: 1" for word in "abce")
        + ", and 2 other answers\n"
    )


def test_select_shows_the_answer_that_won_and_how_many_gave_it(run, tmp_path):
    pools = [
        et.Pool(
            "q", tuple(et.Candidate(i, t, scores={"s": 0.25}) for i, t in enumerate(texts)), {}, p
        )
        for p, texts in {"a": ["7", "so 8", "8.0"], "b": ["9", "x", "9", "9"]}.items()
    ]
    pools = [
        et.Pool(p.prompt, p.candidates, {}, p.problem, None, {"s": "probability"}) for p in pools
    ]
    et.write_pools(tmp_path / "pool", pools)
    given = ("select", tmp_path / "pool", "--answer", "number")
    _, out, err = run(*given, "--rule", "majority")
    assert [line.split() for line in out.splitlines()[:3]] == [
        ["problem", "#", "votes", "answer"],
        ["a", "1", "2", "of", "3", "8"],
        ["b", "0", "3", "of", "3", "9"],
    ]
    assert err == ""
    _, out, _ = run(*given, "--rule", "weighted")
    assert [line.split() for line in out.splitlines()[1:3]] == [
        ["a", "1", "0.5", "8"],
        ["b", "0", "0.75", "9"],
    ]
    _, out, _ = run("select", tmp_path / "pool")
    assert out.splitlines()[0].split() == ["problem", "#", "answer"]
