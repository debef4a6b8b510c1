"""Scores against hand-made numbers and whole forwards; and what a scorer may not do."""

from dataclasses import replace

import numpy as np
import pytest
from fake_plugins import Site, open_site
from tinygrad import Tensor

import edifice_tt as et
from edifice_tt.contract.errors import EdificeError, PluginError, UnknownNameError
from edifice_tt.scoring.steps import mean_logprob

site = pytest.fixture(open_site, name="site")

CONTEXT = 256
POOL = et.Pool(
    "q",
    (
        et.Candidate(0, "a", (10, 2), (-1.0, -3.0), "eos"),
        et.Candidate(1, "bb", (11,), (-0.25,), "stop"),
        et.Candidate(2, "", (2,), (0.0,), "eos"),
    ),
)
SCORER = """
import edifice_tt

class Scorer:
    def __call__(self, {arguments}):
        {body}

@edifice_tt.hookimpl
def register_scorers(register):
    register("fake", Scorer, reads={reads!r}, range={range!r}, level={level!r})
"""


def install(site, body, reads="text", range="unbounded", level="answer"):
    arguments = {"text": "prompt, completions", "logprobs": "token_logprobs"}[reads]
    site.install(
        "fake-scorers",
        SCORER.format(arguments=arguments, body=body, reads=reads, range=range, level=level),
        version="2.5",
    )


def values(pool, scorer):
    return [candidate.scores[scorer] for candidate in pool]


# --- what it costs


def test_scoring_tells_the_tokens_that_its_model_has_read(tiny_lm):
    """The prompt once; of answers that this model has just sampled, the last token of each."""
    prompt = "What is 2 + 3?"
    pool = et.generate(tiny_lm, prompt, n=3, max_tokens=7, seed=5)
    assert et.score(None, pool).scoring["logprob"]["tokens"] == 0
    sampled = et.score(tiny_lm, pool, "linear").scoring["linear"]
    assert (sampled["candidates"], sampled["tokens"]) == (3, 3)
    assert sampled["seconds"] > 0
    written = tuple(et.Candidate(i, "", (i + 3,) * (i + 2)) for i in range(3))
    anew = et.score(tiny_lm, et.Pool("of seven", written), "linear").scoring["linear"]
    assert anew["tokens"] == len(tiny_lm.tokenizer.encode("of seven")) + 2 + 3 + 4


def test_what_a_function_reads_is_not_known():
    scored = et.score(None, POOL, lambda prompt, completions: [1.0] * 3)
    assert scored.scoring["<lambda>"]["tokens"] is None
    assert scored.scoring["<lambda>"]["candidates"] == 3


# --- logprob


def test_logprob_is_the_mean_of_the_token_log_probabilities():
    assert values(et.score(None, POOL), "logprob") == [-2.0, -0.25, 0.0]
    assert mean_logprob([[-1.0, -2.0, -6.0], [-5.0]]) == [-3.0, -5.0]


def test_the_mean_is_exact_where_a_plain_sum_is_not():
    assert mean_logprob([[-1e16, -1.0, 1e16, -1.0]]) == [-0.5]


def test_logprob_of_sampled_candidates_is_theirs(tiny_lm):
    pool = et.score(tiny_lm, et.generate(tiny_lm, "q", n=3, temperature=3.0, max_tokens=9))
    for candidate in pool:
        mean = sum(candidate.token_logprobs) / len(candidate.token_logprobs)
        assert candidate.scores["logprob"] == pytest.approx(mean, abs=1e-12)


def test_a_pool_without_log_probabilities_says_what_to_use():
    pool = et.Pool("q", (*POOL.candidates, et.Candidate(3, "no tokens")))
    with pytest.raises(EdificeError, match=r"'logprob' reads token log-prob.*not hold.*text"):
        et.score(None, pool)


# --- a head on hidden states


@pytest.fixture(scope="module")
def sampled(tiny_lm):
    """Candidates of many lengths, one of them longer than a chunk."""
    pool = et.generate(tiny_lm, "Say something", n=5, seed=2, temperature=4.0, max_tokens=40)
    lengths = (1, 2, 31, 33, 40)
    cut = (
        replace(c, token_ids=(c.token_ids * 40)[:length])
        for c, length in zip(pool, lengths, strict=True)
    )
    return replace(pool, candidates=tuple(cut))


@pytest.fixture(scope="module")
def expected(tiny_lm, sampled):
    """The head at the last token, by one whole forward per candidate, without a cache."""
    numbers = []
    for candidate in sampled:
        text = tiny_lm.tokenizer.encode(sampled.prompt) + list(candidate.token_ids)
        padded = np.zeros((1, CONTEXT), np.int32)
        padded[0, : len(text)] = text
        numbers.append(float(tiny_lm(Tensor(padded)).scores.numpy()[0, len(text) - 1, 0]))
    return numbers


@pytest.mark.slow
def test_a_head_scores_the_last_token(tiny_lm, sampled, expected):
    found = values(et.score(tiny_lm, sampled, scorer="linear"), "linear")
    np.testing.assert_allclose(found, expected, atol=2e-5, rtol=0)
    assert len(set(found)) == len(found)


def test_a_score_is_the_same_alone_in_a_pool_and_in_any_order(tiny_lm, sampled):
    together = values(et.score(tiny_lm, sampled, scorer="linear"), "linear")
    for candidate, value in zip(sampled, together, strict=True):
        alone = replace(sampled, candidates=(candidate,))
        assert values(et.score(tiny_lm, alone, scorer="linear"), "linear") == [value]
    backwards = replace(sampled, candidates=sampled.candidates[::-1])
    assert values(et.score(tiny_lm, backwards, scorer="linear"), "linear") == together[::-1]


def test_another_prompt_between_changes_no_score(tiny_lm, sampled):
    before = et.score(tiny_lm, sampled, scorer="linear")
    et.generate(tiny_lm, "Another prompt altogether", n=2, max_tokens=3)
    assert et.score(tiny_lm, sampled, scorer="linear") == before


def test_a_candidate_without_token_ids_is_scored_by_its_text(tiny_lm):
    tokens = tuple(tiny_lm.tokenizer.encode("hello"))
    by_ids = et.Pool("q", (et.Candidate(0, "hello", tokens),))
    by_text = et.Pool("q", (et.Candidate(0, "hello"),))
    first, second = (et.score(tiny_lm, pool, scorer="linear") for pool in (by_ids, by_text))
    assert values(first, "linear") == values(second, "linear")


def test_a_candidate_with_nothing_to_score_is_named(tiny_lm):
    pool = et.Pool("q", (et.Candidate(0, "a"), et.Candidate(1, "")))
    with pytest.raises(EdificeError, match="candidate 1 is empty"):
        et.score(tiny_lm, pool, scorer="linear")


def test_a_head_must_be_the_models_own(tiny_lm, monkeypatch):
    with pytest.raises(EdificeError, match=r"'mlp' reads hidden.*given the head 'linear'.*Use"):
        et.score(tiny_lm, POOL, scorer="mlp")
    with pytest.raises(EdificeError, match=r"'linear' reads hidden.*given no model"):
        et.score(None, POOL, scorer="linear")
    monkeypatch.setattr(tiny_lm, "scorer", None)
    with pytest.raises(EdificeError, match=r"'linear' reads hidden.*given no head"):
        et.score(tiny_lm, POOL, scorer="linear")


# --- every scorer


def test_scores_are_added_and_the_given_pool_stays():
    before = POOL.to_dict()
    scored = et.score(None, POOL)
    assert scored is not POOL
    assert POOL.to_dict() == before
    assert (POOL.scorers, scored.scorers) == ([], ["logprob"])


def test_a_pool_carries_the_scores_of_several(site: Site):
    install(site, "return [len(text) for text in completions]")
    pool = et.score(None, et.score(None, POOL), scorer="fake")
    assert pool.scorers == ["fake", "logprob"]
    assert values(pool, "logprob") == [-2.0, -0.25, 0.0]
    assert values(pool, "fake") == [1.0, 2.0, 0.0]
    assert all(type(value) is float for value in values(pool, "fake"))


def test_the_declared_range_goes_with_the_scores(tiny_lm, site: Site):
    install(site, "return [0.5] * 3", range="probability")
    pool = et.Pool("q", POOL.candidates, ranges={"old": "logit"})
    for scorer in ("logprob", "linear", "fake"):
        pool = et.score(tiny_lm, pool, scorer)
    assert pool.ranges == {
        "old": "logit",
        "logprob": "unbounded",
        "linear": "logit",
        "fake": "probability",
    }
    assert POOL.ranges == {}


def test_a_rule_knows_what_the_scorer_declared_when_it_is_gone(site: Site):
    install(site, "return [0.25, 0.5, 0.75]", range="logit")
    pool = et.score(None, POOL, scorer="fake")
    site.remove("fake-scorers")
    with pytest.raises(ValueError, match="'fake' declares range='logit'; use rule weighted_logit"):
        et.select(pool, "weighted")
    assert et.select(pool, "weighted_logit").tally.keys() == {"a", "bb"}


def test_an_unknown_scorer_names_the_nearest():
    with pytest.raises(UnknownNameError, match=r"unknown scorer 'logprop'; did you mean 'logprob'"):
        et.score(None, POOL, scorer="logprop")


# --- a scorer of a plugin


def test_a_text_scorer_is_given_the_prompt_and_the_texts(site: Site):
    install(site, "assert (prompt, completions) == ('q', ['a', 'bb', '']); return [3, 1, 2]")
    assert values(et.score(None, POOL, scorer="fake"), "fake") == [3.0, 1.0, 2.0]


def test_a_logprobs_scorer_is_given_lists_that_are_its_own(site: Site):
    install(site, "return [token_logprobs.pop().pop() for _ in range(3)]", reads="logprobs")
    assert values(et.score(None, POOL, scorer="fake"), "fake") == [0.0, -0.25, -3.0]
    assert POOL.candidates[0].token_logprobs == (-1.0, -3.0)


def test_an_array_of_numbers_is_as_good_as_a_list(site: Site):
    install(site, "import numpy; return numpy.array([0.5, 0.25, 1], 'float32')")
    assert values(et.score(None, POOL, scorer="fake"), "fake") == [0.5, 0.25, 1.0]


@pytest.mark.parametrize(
    ("body", "range", "message"),
    [
        ("raise KeyError('lost')", "unbounded", "failed: KeyError: 'lost'"),
        ("raise EOFError", "unbounded", "failed: EOFError"),
        ("raise ValueError('two\\nlines')", "unbounded", "failed: ValueError: two lines"),
        ("import numpy; return numpy.eye(3)", "unbounded", "expected one float per candidate"),
        ("return 1 / 0", "unbounded", "failed: ZeroDivisionError: division by zero"),
        ("return [1.0, 2.0]", "unbounded", "gave 2 scores for 3 candidates"),
        ("return [1.0] * 4", "unbounded", "gave 4 scores for 3 candidates"),
        ("return []", "unbounded", "gave 0 scores for 3 candidates"),
        ("return None", "unbounded", "gave None, expected one float per candidate"),
        ("return 5.0", "unbounded", "gave 5.0, expected one float per candidate"),
        ("return ['a', 'b', 'c']", "unbounded", "expected one float per candidate"),
        ("return [[1, 2]] * 3", "unbounded", "expected one float per candidate"),
        ("return [0, float('nan'), 1]", "unbounded", "gave nan for candidate 1, expected a finite"),
        ("return [0, 1, float('inf')]", "logit", "gave inf for candidate 2, expected a finite"),
        ("return [0, 1, 1.5]", "probability", "gave 1.5 for candidate 2, .*'probability'"),
        ("return [-0.1, 1, 1]", "probability", "gave -0.1 for candidate 0, .*'probability'"),
        ("return [0, float('nan'), 1]", "probability", "gave nan for candidate 1"),
        ("return (1 / 0 for text in completions)", "unbounded", "ZeroDivisionError"),
        ("return 10**400, 1, 1", "unbounded", "expected one float per candidate"),
    ],
)
@pytest.mark.first(3)
def test_a_scorer_that_breaks_its_contract_is_named_with_its_owner(
    site: Site, body, range, message
):
    install(site, body, range=range)
    before = POOL.to_dict()
    with pytest.raises(PluginError, match=message) as caught:
        et.score(None, POOL, scorer="fake")
    assert "scorer 'fake' of fake-scorers 2.5" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert POOL.to_dict() == before


def test_a_failing_scorer_is_named_and_the_pool_and_the_other_scores_stay(site: Site):
    install(site, "raise RuntimeError('no key')")
    pool = et.score(None, POOL)
    before = pool.to_dict()
    with pytest.raises(PluginError) as caught:
        et.score(None, pool, scorer="fake")
    assert str(caught.value) == (
        "scorer 'fake' of fake-scorers 2.5 failed: RuntimeError: no key (fake_scorers.py, line 6)"
    )
    assert pool.to_dict() == before
    assert (pool.scorers, pool.ranges) == (["logprob"], {"logprob": "unbounded"})
    assert et.select(pool).index == 2


def test_a_candidate_is_named_by_its_index_and_not_by_its_place(site: Site):
    """A pool that was interrupted holds candidates 4 and 9, say."""
    install(site, "return [0.0, float('nan')]")
    pool = et.Pool("q", (et.Candidate(4, "a"), et.Candidate(9, "b")))
    with pytest.raises(PluginError, match="for candidate 9"):
        et.score(None, pool, scorer="fake")


def test_the_ends_of_the_probability_range_belong_to_it(site: Site):
    install(site, "return [0, 1, 0.5]", range="probability")
    assert values(et.score(None, POOL, scorer="fake"), "fake") == [0.0, 1.0, 0.5]


def test_a_scorer_that_cannot_be_made_is_named(site: Site):
    site.install(
        "fake-scorers",
        "import edifice_tt\n\ndef make():\n    raise RuntimeError('no key')\n\n"
        "@edifice_tt.hookimpl\ndef register_scorers(register):\n"
        "    register('fake', make, reads='text')\n",
    )
    with pytest.raises(
        PluginError, match=r"'fake' of fake-scorers 1.0 failed: RuntimeError: no key"
    ):
        et.score(None, POOL, scorer="fake")


def test_ctrl_c_in_a_scorer_is_no_fault_of_its(site: Site):
    install(site, "raise KeyboardInterrupt")
    with pytest.raises(KeyboardInterrupt):
        et.score(None, POOL, scorer="fake")


def test_a_chosen_candidate_follows_the_scores(site: Site):
    install(site, "return [-len(text) for text in completions]")
    choice = et.select(et.score(None, POOL, scorer="fake"), scorer="fake")
    assert (choice.index, choice.tally) == (2, {"0": -1.0, "1": -2.0, "2": 0.0})


@pytest.mark.parametrize(
    ("token_ids", "message"),
    [
        ((5, 259), "candidate 0 has token id 259, the model's go from 0 to 258"),
        ((5,) * 300, "candidate 0 has 300 tokens, the model's context has room for 253"),
    ],
)
def test_a_candidate_of_another_model_is_one_clear_error(tiny_lm, token_ids, message):
    pool = et.Pool("abc", (et.Candidate(0, "x", token_ids),))
    with pytest.raises(EdificeError, match=message):
        et.score(tiny_lm, pool, "linear")


# --- a scorer of steps

STEPS = "return [[0.5, 0.25], [1], (0.75, 0.5, 0.25)]"


def test_the_numbers_of_the_steps_are_kept_and_the_last_is_the_score(site: Site):
    install(site, STEPS, range="probability", level="step")
    pool = et.score(None, et.score(None, POOL), scorer="fake")
    assert [c.step_scores for c in pool] == [
        {"fake": (0.5, 0.25)},
        {"fake": (1.0,)},
        {"fake": (0.75, 0.5, 0.25)},
    ]
    assert values(pool, "fake") == [0.25, 1.0, 0.25]
    assert values(pool, "logprob") == [-2.0, -0.25, 0.0]
    assert pool.ranges["fake"] == "probability"
    assert all(type(n) is float for c in pool for n in c.step_scores["fake"])


@pytest.mark.parametrize(
    ("reduce", "expected"),
    [
        ("last", [0.25, 1.0, 0.25]),
        ("min", [0.25, 1.0, 0.25]),
        ("max", [0.5, 1.0, 0.75]),
        ("mean", [0.375, 1.0, 0.5]),
        ("product", [0.125, 1.0, 0.09375]),
    ],
)
def test_steps_are_reduced_as_told(site: Site, reduce, expected):
    install(site, STEPS, range="probability", level="step")
    pool = et.score(None, POOL, scorer="fake", reduce=reduce)
    assert values(pool, "fake") == expected
    assert pool.candidates[2].step_scores == {"fake": (0.75, 0.5, 0.25)}


@pytest.mark.parametrize(
    ("body", "range", "message"),
    [
        (
            "return [[0.5], [], [0.5]]",
            "unbounded",
            "gave no step for candidate 1, expected at least one number",
        ),
        (
            "return [[0.5, 0.5, 1.5], [0.5], [0.5]]",
            "probability",
            "gave 1.5 for step 2 of candidate 0, but declares range='probability': within 0 and 1",
        ),
        (
            "return [[0.5], [-0.5, 0.5], [0.5]]",
            "probability",
            "gave -0.5 for step 0 of candidate 1, but declares range='probability': within 0 and 1",
        ),
        (
            "return [[0.5], [0.5], [0.5, float('nan')]]",
            "logit",
            "gave nan for step 1 of candidate 2, expected a finite number",
        ),
        (
            "return [0.5, 0.5, 0.5]",
            "unbounded",
            "gave [0.5, 0.5, 0.5], expected one list of floats per candidate, for it has "
            "level='step' (TypeError: 'float' object is not iterable)",
        ),
        ("return [[0.5]] * 2", "unbounded", "gave 2 scores for 3 candidates"),
        ("return 1 / 0", "unbounded", "failed: ZeroDivisionError: division by zero"),
    ],
)
def test_a_scorer_of_steps_that_breaks_its_contract_is_named(site: Site, body, range, message):
    """A range holds for each step: the last of the second and third is within it."""
    install(site, body, range=range, level="step")
    before = POOL.to_dict()
    with pytest.raises(PluginError) as caught:
        et.score(None, POOL, scorer="fake")
    assert str(caught.value).startswith(f"scorer 'fake' of fake-scorers 2.5 {message}")
    assert POOL.to_dict() == before


@pytest.mark.parametrize(
    ("level", "range", "reduce", "error", "message"),
    [
        (
            "step",
            "logit",
            "men",
            UnknownNameError,
            "unknown reduction of steps 'men'; did you mean 'mean' or 'min'? Known: last, max, "
            "mean, min, product",
        ),
        (
            "step",
            "logit",
            "product",
            ValueError,
            "reduce='product' multiplies probabilities, but scorer 'fake' declares range='logit'; "
            "use last, min, max or mean",
        ),
        (
            "answer",
            "probability",
            "min",
            ValueError,
            "scorer 'fake' gives one score an answer, so reduce='min' has no steps to reduce; "
            "leave it out",
        ),
    ],
)
def test_a_reduction_that_cannot_be_is_refused_before_the_scorer_runs(
    site: Site, level, range, reduce, error, message
):
    install(site, "raise SystemExit('it ran')", level=level, range=range)
    with pytest.raises(error) as caught:
        et.score(None, POOL, scorer="fake", reduce=reduce)
    assert str(caught.value) == message


def test_a_head_has_no_steps(tiny_lm):
    with pytest.raises(ValueError, match="'linear' gives one score an answer"):
        et.score(tiny_lm, POOL, scorer="linear", reduce="last")


def test_scoring_again_by_answers_leaves_no_steps_of_an_earlier_run(site: Site):
    """A later version of a scorer may have another level."""
    install(site, STEPS, level="step")
    pool = et.score(None, POOL, scorer="fake")
    other = tuple(replace(c, step_scores={**c.step_scores, "prm": (0.5,)}) for c in pool)
    site.remove("fake-scorers")
    install(site, "return [3, 2, 1]")
    pool = et.score(None, replace(pool, candidates=other), scorer="fake")
    assert [c.step_scores for c in pool] == [{"prm": (0.5,)}] * 3
    assert values(pool, "fake") == [3.0, 2.0, 1.0]
