"""A verifier as a file: the same numbers again, and only on the model that it was made for."""

from dataclasses import replace

import numpy as np
import pytest
from tinygrad import Tensor
from tinygrad.nn.state import get_state_dict

import edifice_tt as et
from edifice_tt.contract.errors import CheckpointError, EdificeError, PoolWarning
from edifice_tt.engine.hidden import read_hidden
from edifice_tt.scoring.heads import in_half, logit_of_mean, looks_back, read_head
from edifice_tt.scoring.verifier import digest_of, new_head, tokenizer_digest
from edifice_tt.testing import tiny_model
from edifice_tt.weights.safetensors import open_safetensors, write_safetensors

OPTIONS = {"scorer_hidden": 5, "dropout": 0.5, "seed": 4}
SIZE = 24  # of tiny_lm
POOL = et.Pool("q", tuple(et.Candidate(i, "", (70 + i,) * (i + 1)) for i in range(4)))


@pytest.fixture(scope="module")
def verifier(tiny_lm):
    return et.Verifier(
        "judge",
        "mlp",
        OPTIONS,
        1,
        SIZE,
        tiny_lm.fingerprint,
        new_head("mlp", SIZE, OPTIONS),
        np.linspace(-1, 1, SIZE, dtype=np.float32),
        np.linspace(0.5, 2, SIZE, dtype=np.float32),
        1.5,
        -0.25,
        frozenset({digest_of("seen")}),
        {"ece": 0.125},
        tokenizer_digest(tiny_lm),
    )


@pytest.mark.slow
def test_the_probability_is_that_of_the_formula_at_the_last_token(tiny_lm, verifier):
    w = {name: tensor.numpy() for name, tensor in get_state_dict(verifier.head).items()}
    scored = et.score(tiny_lm, POOL, verifier)
    for candidate, states in zip(scored, read_hidden(tiny_lm, POOL, 1), strict=True):
        x = (states[-1].astype(np.float16) - verifier.mean) * verifier.scale
        a = w["dense1.weight"] @ x + w["dense1.bias"]
        logit = w["dense2.weight"] @ (a / (1 + np.exp(-a))) + w["dense2.bias"]
        expected = 1 / (1 + np.exp(-(1.5 * logit[0] - 0.25)))
        assert candidate.scores["judge"] == pytest.approx(expected, abs=1e-5)
    assert scored.ranges == {"judge": "probability"}


@pytest.mark.slow
def test_a_verifier_of_steps_gives_the_mean_probability_over_their_ends(tiny_lm, verifier):
    how = {"reads": "steps", "ends": frozenset({71, 200})}
    by_steps = replace(verifier, **how, slope=1.0, offset=0.0)
    rows = ((71, 72, 71, 73, 200, 74), (72, 73), (74, 71))
    ends = ((0, 2, 4, 5), (1,), (1,))
    pool = et.Pool("q", tuple(et.Candidate(i, "", row) for i, row in enumerate(rows)))
    logits = by_steps.logits([one.astype(np.float16) for one in read_hidden(tiny_lm, pool, 1)])
    expected = [
        np.mean([1 / (1 + np.exp(-row[at])) for at in places])
        for row, places in zip(logits, ends, strict=True)
    ]
    scores = [one.scores["judge"] for one in et.score(tiny_lm, pool, by_steps)]
    assert scores == pytest.approx(expected, abs=1e-6)
    plain = [
        one.scores["judge"] for one in et.score(tiny_lm, pool, replace(by_steps, reads="last"))
    ]
    assert scores[1:] == pytest.approx(plain[1:], abs=1e-12)
    assert scores[0] != pytest.approx(plain[0], abs=1e-6)


def test_a_verifier_of_tokens_gives_their_mean_probability(tiny_lm, verifier):
    by_tokens = replace(verifier, reads="tokens", slope=1.0, offset=0.0)
    logits = by_tokens.logits([one.astype(np.float16) for one in read_hidden(tiny_lm, POOL, 1)])
    expected = [np.mean(1 / (1 + np.exp(-row))) for row in logits]
    scores = [one.scores["judge"] for one in et.score(tiny_lm, POOL, by_tokens)]
    assert scores == pytest.approx(expected, abs=1e-6)


def test_the_mean_of_probabilities_that_are_sure_stays_finite():
    for logits, expected in (([900.0, 900.0], 900), ([-900.0, 900.0], 0), ([-900.0] * 2, -900)):
        found = logit_of_mean(np.array(logits, np.float32))
        assert found == pytest.approx(expected)


def test_a_verifier_of_steps_needs_the_tokens_of_an_answer(tiny_lm, verifier):
    by_steps = replace(verifier, reads="steps", ends=frozenset({71}))
    pool = et.Pool("q", (et.Candidate(0, "abc"),))
    with pytest.raises(EdificeError, match="an answer has 0 token ids"):
        et.score(tiny_lm, pool, by_steps)


@pytest.mark.parametrize("name", ["linear", "mlp"])
def test_a_head_that_does_not_look_back_reads_the_last_state_alone(name, rng):
    head = new_head(name, SIZE, OPTIONS)
    assert not looks_back(head, SIZE)
    states = rng.normal(size=(37, SIZE)).astype(np.float32)
    ((whole,), (last,)) = (read_head(head, [part], "CPU") for part in (states, states[-1:]))
    assert whole[-1] == last[0]


def test_a_head_that_looks_back_is_known_by_its_numbers():
    class Mean:
        def __init__(self):
            self.weight = Tensor.ones(SIZE).realize()

        def __call__(self, hidden):
            return (hidden.cumsum(1) * self.weight).sum(-1, keepdim=True)

    assert looks_back(Mean(), SIZE)


def test_states_without_room_in_half_precision_stay_as_they_are():
    large, small = np.full((1, 3), 1e6, np.float32), np.full((1, 3), 1 / 3, np.float32)
    assert np.array_equal(in_half(large), large)
    assert np.array_equal(in_half(small), small.astype(np.float16))


def test_a_file_that_does_not_say_what_it_reads_reads_the_last_token(verifier, tmp_path):
    replace(verifier, reads="tokens").save(tmp_path / "v")
    rewrite(tmp_path / "v", rewritten('"reads": "tokens", "ends": []', '"more": 0'))
    again = et.load_verifier(tmp_path / "v")
    assert (again.reads, again.ends) == ("last", frozenset())


def test_a_score_is_the_same_alone_and_in_any_order(tiny_lm, verifier):
    together = {c.index: c.scores["judge"] for c in et.score(tiny_lm, POOL, verifier)}
    backwards = et.score(tiny_lm, replace(POOL, candidates=POOL.candidates[::-1]), verifier)
    assert {c.index: c.scores["judge"] for c in backwards} == together
    (alone,) = et.score(tiny_lm, replace(POOL, candidates=POOL.candidates[2:3]), verifier)
    assert alone.scores["judge"] == together[2]


@pytest.mark.parametrize(("reads", "ends"), [("last", ()), ("tokens", ()), ("steps", (71, 72))])
def test_a_file_brings_back_the_same_numbers_and_all_that_was_said(
    tiny_lm, verifier, tmp_path, reads, ends
):
    verifier = replace(verifier, reads=reads, ends=frozenset(ends))
    verifier.save(tmp_path / "v")
    again = et.load_verifier(tmp_path / "v")
    assert et.score(tiny_lm, POOL, again) == et.score(tiny_lm, POOL, verifier)
    for name in (
        "name",
        "scorer",
        "options",
        "layer",
        "fingerprint",
        "trained_on",
        "figures",
        "tokenizer",
        "reads",
        "ends",
    ):
        assert getattr(again, name) == getattr(verifier, name)


def test_many_problems_that_it_was_trained_on_are_one_warning(tiny_lm, verifier):
    seen = [replace(POOL, prompt="seen", problem=name) for name in "pq"]
    with pytest.warns(et.TrainedOnWarning) as caught:
        pools = list(et.score_pools(tiny_lm, [*seen, POOL], verifier))
    (told,) = caught
    assert "was trained on 2 of these 3 problems" in str(told.message)
    assert [bool(pool.seen_by) for pool in pools] == [True, True, False]


def test_problems_that_it_was_trained_on_are_told(tiny_lm, verifier):
    with pytest.warns(PoolWarning, match="'judge' was trained on problem '0'"):
        pool = et.score(tiny_lm, replace(POOL, prompt="seen"), verifier)
    assert pool.seen_by == {"judge"}
    assert et.score(tiny_lm, POOL, verifier).seen_by == frozenset()
    # Scores of another one of that name take their place, and it has not seen the problem.
    other = replace(verifier, trained_on=frozenset())
    assert et.score(tiny_lm, pool, other).seen_by == frozenset()


def test_another_model_is_refused(tiny_lm, verifier):
    other = replace(verifier, fingerprint="f" * 32)
    with pytest.raises(EdificeError, match=r"trained on the model with fingerprint ffff.*'tiny'"):
        et.score(tiny_lm, POOL, other)
    with pytest.raises(EdificeError, match="states of size 24, those of model 'tiny' have 16"):
        et.score(tiny_model(), POOL, verifier)
    with pytest.raises(EdificeError, match=r"with the tokenizer beef, that of 'tiny' is \w{16};"):
        et.score(tiny_lm, POOL, replace(verifier, tokenizer="beef"))
    with pytest.raises(EdificeError, match="needs its model"):
        et.score(None, POOL, verifier)
    with pytest.raises(ValueError, match="no steps to reduce"):
        et.score(tiny_lm, POOL, verifier, reduce="min")


def test_a_verifier_that_gives_no_number_is_an_error(tiny_lm, verifier):
    broken = replace(verifier, scale=np.full(SIZE, np.nan, np.float32))
    with pytest.raises(EdificeError, match="not a finite number"):
        et.score(tiny_lm, POOL, broken)


def rewrite(path, change):
    file = open_safetensors(path)
    tensors = {name: file.read(name, "CPU") for name in file.entries}
    metadata = dict(file.metadata)
    change(tensors, metadata)
    write_safetensors(path, tensors, metadata)


def rewritten(old, new):
    return lambda tensors, metadata: metadata.update(
        verifier=metadata["verifier"].replace(old, new)
    )


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t, m: m.pop("format"), "not a verifier"),
        (lambda t, m: m.update(format_version="9"), "format version 9"),
        (lambda t, m: m.update(verifier="{}"), "description is damaged"),
        (lambda t, m: m.update(verifier="[]"), "description is damaged"),
        (rewritten('"seed"', '"sead"'), r"description is damaged \(the option seed is missing\)"),
        (
            rewritten('"hidden_size": 24', '"hidden_size": "24"'),
            "hidden_size='24' must be a whole number",
        ),
        (
            rewritten('"hidden_size": 24', '"hidden_size": 0'),
            "hidden_size=0 must be a whole number",
        ),
        (rewritten('"layer": 1', '"layer": null'), "layer=None must be a whole number"),
        (rewritten('"reads": "last"', '"reads": "lust"'), "reads='lust' must be one of last"),
        (rewritten('"ends": []', '"ends": ["a"]'), "description is damaged"),
        (lambda t, m: t.pop("head.dense2.bias"), "missing: head.dense2.bias"),
        (lambda t, m: t.update({"input.mean": t["input.mean"][:3]}), "input.mean: shape"),
        (
            lambda t, m: t.update({"input.mean": t["input.mean"] * float("nan")}),
            "'input.mean' holds",
        ),
        (
            lambda t, m: m.update(verifier=m["verifier"].replace('"slope": 1.5', '"slope": NaN')),
            "slope=nan must be a finite number",
        ),
    ],
)
@pytest.mark.first(3)
def test_a_file_that_is_not_as_written_is_a_clear_error(verifier, tmp_path, change, words):
    path = tmp_path / "v"
    verifier.save(path)
    rewrite(path, change)
    with pytest.raises(CheckpointError, match=words):
        et.load_verifier(path)
