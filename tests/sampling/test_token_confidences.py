"""How sure the model is of a token: against the definitions, and the same wherever it is asked."""

import json
import math

import formula_model
import numpy as np
import pytest
from formula_model import OPTIONS, PROBLEMS, FormulaModel

import edifice_tt as et
from edifice_tt.contract.errors import CheckpointError, EdificeError, UnknownNameError
from edifice_tt.contract.records import CONFIDENCES
from edifice_tt.sampling import generate as sampling
from edifice_tt.sampling.confidence import measure

HOT = {"max_tokens": 7, "temperature": 2.0, "seed": 3}


def by_definition(logits):
    """Each measure in plain Python, token by token."""
    highest = float(max(logits))
    weights = [math.exp(float(x) - highest) for x in logits]
    total = math.fsum(weights)
    p = [w / total for w in weights]
    likely = sorted(p, reverse=True)[:20]
    return {
        "entropy": -math.fsum(x * math.log(x) for x in p if x > 0),
        "self_certainty": math.fsum(math.log(1 / len(p) / x) for x in p if x > 0) / len(p),
        "deepconf": -math.fsum(map(math.log, likely)) / len(likely),
    }


def measured(logits):
    return dict(zip(CONFIDENCES, measure(CONFIDENCES, logits), strict=True))


# --- the measures


def test_the_measures_by_hand():
    """p = 1/2, 1/4, 1/8, 1/8: all logarithms are whole multiples of ln 2."""
    found = measured(np.log([0.5, 0.25, 0.125, 0.125]))
    assert found["entropy"] == pytest.approx(1.75 * math.log(2), rel=1e-14)
    assert found["self_certainty"] == pytest.approx(0.25 * math.log(2), rel=1e-13)
    assert found["deepconf"] == pytest.approx(2.25 * math.log(2), rel=1e-14)


def test_of_more_than_20_tokens_deepconf_looks_at_the_20_most_likely():
    """p = 1/32 of 16 tokens, 1/64 of 16 and 1/256 of 64: 16 of the first kind, 4 of the second."""
    p = np.repeat([1 / 256, 1 / 32, 1 / 64], [64, 16, 16])
    found = measured(np.log(p))
    assert found["deepconf"] == pytest.approx((16 * 5 + 4 * 6) / 20 * math.log(2), rel=1e-14)
    assert found["entropy"] == pytest.approx((0.5 * 5 + 0.25 * 6 + 0.25 * 8) * math.log(2))


def test_a_uniform_distribution_is_no_certainty_and_all_entropy():
    found = measured(np.full(4099, 3.0, np.float32))
    assert found["self_certainty"] == pytest.approx(0, abs=1e-14)
    assert found["entropy"] == found["deepconf"] == pytest.approx(math.log(4099), rel=1e-14)


@pytest.mark.parametrize("size", [1, 2, 19, 20, 21, 257, 5119, 5120, 5377, 20_011])
@pytest.mark.parametrize("scale", [0.01, 3.0, 40.0])
def test_the_measures_are_their_definitions(size, scale):
    logits = np.random.default_rng(size).normal(size=size).astype(np.float32) * scale
    found, expected = measured(logits), by_definition(logits)
    for name in CONFIDENCES:
        assert found[name] == pytest.approx(expected[name], rel=1e-11, abs=1e-12), name
        assert found[name] >= 0


def test_tied_tokens_and_the_most_likely_in_one_stretch_are_found():
    logits = np.zeros(20_011, np.float32)
    logits[300:330] = 5.0
    logits[7] = 9.0
    assert measured(logits)["deepconf"] == pytest.approx(by_definition(logits)["deepconf"])


def test_what_is_asked_changes_no_other_measure():
    logits = np.random.default_rng(1).normal(size=5003)
    found, before = measured(logits), logits.copy()
    for names in (CONFIDENCES[::-1], *[(name,) for name in CONFIDENCES]):
        assert measure(names, logits) == tuple(found[name] for name in names)
    assert (logits == before).all()


def test_a_token_that_cannot_be_makes_what_needs_its_logarithm_an_error():
    logits = np.r_[np.zeros(30), -np.inf]
    assert measure(["entropy", "deepconf"], logits) == pytest.approx([math.log(30)] * 2)
    with pytest.raises(
        ValueError, match=r"self_certainty of a token is infinite.*; leave self_cert"
    ):
        measure(["self_certainty"], logits)


# --- sampling


@pytest.fixture
def formulas(monkeypatch):
    formula_model.use_formulas(monkeypatch.setattr)
    monkeypatch.setattr(formula_model, "SLOW_S", 0)
    return FormulaModel()


@pytest.mark.parametrize("settings", [{}, {"temperature": 0.3}, {"top_k": 3}, {"top_p": 0.5}])
def test_the_distribution_is_the_model_s_own_however_tokens_are_drawn(formulas, settings):
    pool = et.generate(formulas, "7?", confidence=CONFIDENCES, **{**OPTIONS, **settings})
    for candidate in pool:
        before = [3 + ord("?"), *candidate.token_ids[:-1]]
        expected = [by_definition(formula_model.logits_after(token)) for token in before]
        for name in CONFIDENCES:
            found = candidate.token_confidences[name]
            assert found == pytest.approx([one[name] for one in expected], rel=1e-11)


def test_a_pool_holds_what_was_asked_and_says_so(formulas):
    pool = et.generate(formulas, "7?", confidence=["deepconf", "entropy"], **OPTIONS)
    assert pool.settings["confidence"] == ["entropy", "deepconf"]
    assert all(list(c.token_confidences) == ["entropy", "deepconf"] for c in pool)
    plain = et.generate(formulas, "7?", **OPTIONS)
    assert "confidence" not in plain.settings
    assert [c.token_confidences for c in plain] == [{}] * len(plain)
    assert [c.token_ids for c in plain] == [c.token_ids for c in pool]


def test_what_was_not_asked_is_not_computed(formulas, monkeypatch):
    monkeypatch.setattr(sampling, "measure", None)
    assert len(et.generate(formulas, "7?", **OPTIONS)) == 5


@pytest.mark.parametrize(
    ("confidence", "error", "reason"),
    [
        (["entropi"], UnknownNameError, "unknown measure of confidence 'entropi'; .*'entropy'"),
        ("entropy", ValueError, r"must be a list of names: \['entropy'\]"),
    ],
)
def test_an_unknown_measure_is_refused(formulas, confidence, error, reason):
    with pytest.raises(error, match=reason):
        et.generate(formulas, "7?", confidence=confidence, **OPTIONS)


def test_confidence_is_the_same_bits_alone_and_in_any_batch(tiny_lm):
    asked = {"confidence": CONFIDENCES, **HOT}
    whole = et.generate(tiny_lm, "again", n=7, batch_size=7, **asked)
    assert len({c.token_confidences["deepconf"] for c in whole}) > 3
    for changes in ({"batch_size": 2}, {"devices": ["CPU", "CPU:1"]}, {"indices": [5]}):
        some = et.generate(tiny_lm, "again", n=7, **changes, **asked)
        assert some.candidates == tuple(whole.candidates[c.index] for c in some)


# --- files


def test_confidence_comes_back_from_a_file_and_goes_on_with_a_resumed_run(formulas, tmp_path):
    path, asked = tmp_path / "pool", {"confidence": CONFIDENCES, **OPTIONS}
    et.generate_pools(formulas, PROBLEMS, path, **asked)
    whole = list(et.read_pools(path))
    assert whole[0] == et.generate(formulas, PROBLEMS[0].prompt, gold="0", **asked)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:4]))
    et.generate_pools(formulas, PROBLEMS, path, resume=True, **asked)
    assert list(et.read_pools(path)) == whole
    with pytest.raises(EdificeError, match=r"made with confidence=.*, given confidence=None"):
        et.generate_pools(formulas, PROBLEMS, path, resume=True, **OPTIONS)


def test_merged_files_keep_confidence_and_must_agree_in_it(formulas, tmp_path):
    one, other, both = tmp_path / "one", tmp_path / "other", tmp_path / "both"
    asked = {"confidence": ["entropy"], **OPTIONS}
    for path, indices in ((one, [0, 1]), (other, [1, 2, 4])):
        et.generate(formulas, "7?", indices=indices, **asked).save(path)
    et.merge_pools([one, other], both)
    assert et.Pool.load(both) == et.generate(formulas, "7?", indices=[0, 1, 2, 4], **asked)
    text = other.read_text()
    first = json.loads(text.splitlines()[2])["token_confidences"]["entropy"][0]
    other.write_text(text.replace(f"{first}", f"{first + 1}"))
    with pytest.raises(CheckpointError, match=r"candidate 1 .* different token_confidences"):
        et.merge_pools([one, other], both)
    et.generate(formulas, "7?", indices=[3], **OPTIONS).save(other)
    with pytest.raises(CheckpointError, match="has confidence="):
        et.merge_pools([one, other], both)


@pytest.mark.parametrize(
    ("confidences", "reason"),
    [
        ({"entropy": [0.5]}, "num_tokens=2 must be the 1 of entropy"),
        ({"entropy": [0.5, -0.25]}, "must be an object of entropy"),
        ({"entropy": [0.5, None]}, "must be an object of entropy"),
        ({"surprise": [0.5, 0.5]}, "must be an object of entropy"),
        ({}, "must be an object of entropy"),
        ([[0.5, 0.5]], "must be an object of entropy"),
    ],
)
def test_a_file_with_other_confidences_is_refused(tmp_path, confidences, reason):
    path = tmp_path / "pool"
    sound = et.Candidate(0, "a", (1, 2), token_confidences={"entropy": (0.5, 0.25)})
    et.Pool("q", (sound,)).save(path)
    assert et.Pool.load(path).candidates == (sound,)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    lines[2]["token_confidences"] = confidences
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    with pytest.raises(CheckpointError, match=rf"line 3: damaged pool file: .*{reason}"):
        et.Pool.load(path)
