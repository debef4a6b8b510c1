"""Scores of rows while they are written: a judge, a verifier at a lower layer, a text scorer."""

from dataclasses import replace

import numpy as np
import pytest
from judge_models import Tiny

import edifice_tt as et
from edifice_tt.contract.errors import TrainedOnWarning
from edifice_tt.live.plan import Plan
from edifice_tt.live.runs import search_problems
from edifice_tt.scoring.judges.judge import Judge
from edifice_tt.scoring.verifier import digest_of, new_head, tokenizer_digest

PROMPT = "thequick"
SEARCH = {"settings": {"n": 5, "cuts": (4, 9)}, "seed": 5, "max_tokens": 23, "temperature": 3.0}


@pytest.fixture(scope="module")
def verifier(tiny_lm):
    options = {"scorer_hidden": 5, "dropout": 0.5, "seed": 4}
    return et.Verifier(
        *("small", "mlp", options, 1, 24, tiny_lm.fingerprint, new_head("mlp", 24, options)),
        np.linspace(-1, 1, 24, dtype=np.float32),
        np.linspace(0.5, 2, 24, dtype=np.float32),
        trained_on=frozenset({digest_of("seen")}),
        tokenizer=tokenizer_digest(tiny_lm),
    )


def test_a_judge_reads_with_its_own_model_and_its_tokens_are_counted(
    tiny_lm, tmp_path, monkeypatch
):
    Tiny("ForSequenceClassification").write(tmp_path)
    judge, asked, score = et.load_reward(tmp_path), [], Judge.score

    def heard(self, pool, *how):
        asked.append(pool)
        return score(self, pool, *how)

    monkeypatch.setattr(Judge, "score", heard)
    pool = et.search(tiny_lm, PROMPT, "rejection", judge, **SEARCH)
    monkeypatch.undo()
    scored = et.score(None, replace(pool, search=None), judge)
    assert [one.scores for one in pool] == [one.scores for one in scored]
    assert pool.search["judge_tokens"] == sum(sum(judge.tokens_read(one)) for one in asked)
    apart = [judge.tokens_read(replace(asked[0], candidates=(one,)))[0] for one in asked[0]]
    assert sum(judge.tokens_read(asked[0])) < sum(apart)  # the question is read once


@pytest.mark.parametrize("reads", ["last", "tokens", "steps"])
@pytest.mark.first(1)
def test_a_verifier_reads_the_states_of_its_layer(tiny_lm, verifier, reads):
    verifier = replace(verifier, reads=reads, ends=frozenset(range(0, 300, 3)))
    pool = et.search(tiny_lm, PROMPT, "rejection", verifier, **SEARCH)
    again = et.score(tiny_lm, replace(pool, search=None), verifier)
    assert [one.scores for one in pool] == [one.scores for one in again]
    assert pool.ranges == {"small": "probability"}


def test_a_verifier_that_was_trained_on_the_problem_says_so(tiny_lm, verifier):
    with pytest.warns(TrainedOnWarning, match="problem 'p'"):
        pool = et.search(tiny_lm, "seen", "rejection", verifier, problem="p", **SEARCH)
    assert pool.seen_by == {"small"}


def test_a_scorer_that_fails_is_told_as_in_score(tiny_lm):
    def broken(prompt, completions):
        return [float("nan")] * len(completions)

    with pytest.raises(et.PluginError, match="broken"):
        et.search(tiny_lm, PROMPT, "rejection", broken, **SEARCH)


def test_a_text_is_scored_anew_behind_another_question(tiny_lm, tmp_path):
    def by_problem(prompt, completions, problem):
        return [float(sum(map(ord, problem * 3 + text)) % 7) for text in completions]

    sampling = {"seed": 5, "max_tokens": 4, "temperature": 0.2}
    settings, problems = {"n": 3, "cuts": (1, 2)}, [et.Problem(PROMPT, name) for name in "pq"]
    plan = Plan.of(tiny_lm, "rejection", by_problem, settings, None, None, **sampling)
    search_problems(plan, problems, tmp_path / "pool")
    pools = [*et.read_pools(tmp_path / "pool")]
    assert {one.text for one in pools[0]} & {one.text for one in pools[1]}
    for pool, one in zip(pools, problems, strict=True):
        how = {"problem": one.problem, "settings": settings, **sampling}
        expected = et.search(tiny_lm, one.prompt, "rejection", by_problem, **how)
        assert pool.candidates == expected.candidates


def test_what_was_drawn_before_a_scorer_failed_is_in_the_file(tiny_lm, tmp_path):
    calls = []

    def failing(prompt, completions):
        calls.append(completions)
        if len(calls) == 2:
            raise RuntimeError("the line is down")
        return [float(sum(map(ord, text)) % 7) for text in completions]

    path, problems = tmp_path / "pool", [et.Problem("thequick", "p")]

    def run(resume):
        plan = Plan.of(tiny_lm, "rejection", failing, SEARCH["settings"], None, None, **sampling)
        search_problems(plan, problems, path, resume=resume)

    sampling = {name: value for name, value in SEARCH.items() if name != "settings"}
    with pytest.raises(et.PluginError, match="the line is down"):
        run(resume=False)
    assert len(et.Pool.load(path)) == 5
    run(resume=True)
    expected = et.search(tiny_lm, PROMPT, "rejection", failing, problem="p", **SEARCH)
    assert et.Pool.load(path).candidates == expected.candidates
