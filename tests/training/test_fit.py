"""Training finds what is there to be found, the same way each time, and refuses wrong use."""

from dataclasses import replace

import numpy as np
import pytest
from fake_plugins import open_site
from tinygrad import Tensor
from tinygrad.nn.state import get_state_dict

import edifice_tt as et
from edifice_tt.errors import EdificeError, UnknownNameError
from edifice_tt.study.quality import auroc
from edifice_tt.training.examples import every_token, step_ends
from edifice_tt.training.features import read_features
from edifice_tt.training.fit import features_needed

site = pytest.fixture(open_site, name="site")

FAST = {"lr": 0.04, "epochs": 7, "scorer_hidden": 8}


def weights_of(fit):
    return {name: w.numpy() for name, w in get_state_dict(fit.verifier.head).items()}


def same(one, other):
    return all(np.array_equal(w, other[name]) for name, w in one.items())


def shuffled(pools):
    """The same answers, right or wrong by a coin: nothing to learn."""
    rng = np.random.default_rng(8)
    return [
        replace(p, candidates=tuple(replace(c, correct=bool(rng.integers(2))) for c in p))
        for p in pools
    ]


# --- it learns


@pytest.mark.parametrize("loss", ["outcome", "pairwise", "token", "step"])
def test_it_ranks_answers_to_problems_it_has_not_seen(lm, pools, loss):
    """Twelve new problems of eight answers; by luck their mean AUROC is 0.5 with a deviation of
    about 0.06, so 0.85 is out of luck's reach."""
    fit = et.fit_scorer(lm, pools[:28], loss=loss, **FAST)
    new = read_features(lm, pools[28:])
    found = []
    for pool in pools[28:]:
        scores = [float(logits[-1]) for logits in fit.verifier.logits(new.of(pool))]
        found.append(auroc([scores], [[bool(c.correct) for c in pool]])[0])
    assert np.nanmean(found) > 0.85
    assert fit.history[-1].loss < fit.history[0].loss
    assert fit.verifier.figures["auroc_within"] == fit.quality.auroc_within > 0.8


def test_where_nothing_is_to_be_learned_it_says_so(lm, pools):
    """A coin's labels: held out the AUROC stays near a half, and the probabilities near 1/2."""
    fit = et.fit_scorer(lm, shuffled(pools), held_out=0.5, **FAST)
    assert 0.3 < fit.quality.auroc_within < 0.7
    scores = [c.scores["verifier"] for c in score_quietly(lm, pools[0], fit.verifier)]
    assert max(scores) - min(scores) < 0.6


def score_quietly(lm, pool, verifier):
    return et.score(lm, pool, replace(verifier, trained_on=frozenset()))


def test_probabilities_are_what_they_say(lm, pools):
    fit = et.fit_scorer(lm, pools[:28], **FAST)
    scored = [c for pool in pools[28:34] for c in et.score(lm, pool, fit.verifier)]
    scores = np.array([c.scores["verifier"] for c in scored])
    right = np.array([bool(c.correct) for c in scored])
    assert np.mean((scores - right) ** 2) < 0.15  # 0.25 says nothing
    assert abs(scores.mean() - right.mean()) < 0.1


# --- the same each time


@pytest.fixture(scope="module")
def whole(lm, pools):
    return et.fit_scorer(lm, pools, dropout=0.2, **FAST)


def test_same_seed_gives_the_same_weights_bit_for_bit(lm, pools, whole):
    Tensor.manual_seed(123)
    again = et.fit_scorer(lm, pools, dropout=0.2, **FAST)
    assert same(weights_of(whole), weights_of(again))
    assert again.history == whole.history
    assert not same(
        weights_of(whole), weights_of(et.fit_scorer(lm, pools, seed=1, scorer_hidden=8, epochs=1))
    )


def test_a_run_that_was_killed_goes_on_as_if_nothing_had_happened(lm, pools, whole, tmp_path):
    path, epoch = tmp_path / "run", 3

    def kill(done):
        if done.epoch == epoch:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        et.fit_scorer(lm, pools, dropout=0.2, checkpoint=path, on_epoch=kill, **FAST)
    seen = []
    resumed = et.fit_scorer(
        lm, pools, dropout=0.2, checkpoint=path, on_epoch=lambda e: seen.append(e.epoch), **FAST
    )
    assert seen == list(range(epoch + 1, len(whole.history) + 1))
    assert same(weights_of(whole), weights_of(resumed))
    assert resumed.history == whole.history
    assert resumed.verifier.slope == whole.verifier.slope


def test_a_checkpoint_of_another_run_is_refused(lm, pools, tmp_path):
    path = tmp_path / "run"
    et.fit_scorer(lm, pools, checkpoint=path, **{**FAST, "epochs": 1})
    with pytest.raises(EdificeError, match=r"run is the checkpoint of a training with other"):
        et.fit_scorer(lm, pools, checkpoint=path, **{**FAST, "epochs": 2})
    flipped = replace(pools[0].candidates[0], correct=not pools[0].candidates[0].correct)
    other = replace(pools[0], candidates=(flipped, *pools[0].candidates[1:]))
    with pytest.raises(EdificeError, match="with other problems or options"):
        et.fit_scorer(lm, [other, *pools[1:]], checkpoint=path, **{**FAST, "epochs": 1})


def test_it_leaves_the_callers_random_numbers_alone(lm, pools):
    Tensor.manual_seed(5)
    expected = Tensor.rand(3).tolist() + Tensor.rand(3).tolist()
    Tensor.manual_seed(5)
    found = Tensor.rand(3).tolist()
    et.fit_scorer(lm, pools, **{**FAST, "epochs": 1})
    assert found + Tensor.rand(3).tolist() == expected


def test_it_stops_when_nothing_gets_better_and_keeps_the_best(lm, pools):
    fit = et.fit_scorer(lm, shuffled(pools), lr=0.05, patience=3, scorer_hidden=8)
    assert fit.stopped == "patience"
    assert len(fit.history) == fit.best_epoch + 3
    losses = [epoch.held_out_loss for epoch in fit.history]
    assert losses.index(min(losses)) + 1 == fit.best_epoch


# --- targets, features, heads of plugins


def test_targets_may_be_ones_own_and_masked(lm, pools):
    """Told the opposite, it ranks the wrong ones first; where nothing is asked, it hears nothing.

    A ranking by luck has a mean AUROC between 0.3 and 0.7, as above."""

    def opposite(candidate):
        return [None, None, 1 - float(candidate.correct)]

    fit = et.fit_scorer(lm, pools, targets=opposite, **FAST)
    assert fit.quality.auroc_within < 0.2


def test_steps_end_where_the_separator_stands(lm):
    ids = tuple(3 + b for b in b"a\nbc\nd")
    candidate = et.Candidate(0, "", ids, correct=True)
    assert step_ends(lm)(candidate) == [None, 1, None, None, 1, 1]
    assert every_token(replace(candidate, correct=False)) == [0] * 6


@pytest.mark.parametrize("given", [[1.0], [1.0, None, 2.0]])
def test_targets_that_do_not_fit_are_named(lm, pools, given):
    with pytest.raises(ValueError, match=r"targets .* candidate 0 of problem"):
        et.fit_scorer(lm, pools, targets=lambda c: given, **FAST)


def test_features_can_be_read_before(lm, pools, whole):
    assert features_needed(lm, "mlp") == (1, "last")
    assert features_needed(lm, "mlp", "token") == (1, "all")
    fit = et.fit_scorer(lm, pools, dropout=0.2, features=read_features(lm, pools), **FAST)
    assert same(weights_of(whole), weights_of(fit))
    with pytest.raises(EdificeError, match="positions='last', this training needs 'all'"):
        et.fit_scorer(lm, pools, loss="token", features=read_features(lm, pools), **FAST)


HEADS = """
import numpy as np
import edifice_tt
from tinygrad import Tensor

class Mean:
    def __init__(self, hidden_size, seed):
        rng = np.random.default_rng(seed)
        self.weight = Tensor(rng.normal(size=(hidden_size, 1)).astype(np.float32) / 8)

    def __call__(self, hidden):
        T = hidden.shape[1]
        mean = hidden.cumsum(1) / Tensor.arange(1, T + 1).reshape(1, T, 1)
        return (mean @ self.weight).sigmoid()

class Bare:
    def __call__(self, hidden):
        return hidden.sum(-1, keepdim=True)

class Explodes(Mean):
    def __call__(self, hidden):
        return (hidden @ self.weight) * {factor}

@edifice_tt.hookimpl
def register_scorers(register):
    register("mean", Mean, reads="hidden", range="probability")
    register("bare", lambda hidden_size: Bare(), reads="hidden", range="logit")
    register("explodes", Explodes, reads="hidden", range="logit")
"""


def test_a_head_of_a_plugin_that_looks_back_and_gives_probabilities(lm, pools, site, tmp_path):
    site.install("heads", HEADS.format(factor=1), version="1.0")
    fit = et.fit_scorer(lm, pools, "mean", lr=0.1, epochs=7)
    assert features_needed(lm, "mean") == (1, "all")
    assert fit.quality.auroc_within > 0.6
    fit.verifier.save(tmp_path / "mean")
    again = et.load_verifier(tmp_path / "mean")
    first, second = (score_quietly(lm, pools[0], v) for v in (fit.verifier, again))
    assert first == second


def test_a_head_without_weights_cannot_be_trained(lm, pools, site):
    site.install("heads", HEADS.format(factor=1), version="1.0")
    with pytest.raises(EdificeError, match="'bare' has no weights"):
        et.fit_scorer(lm, pools, "bare", **FAST)


# --- a loss that is not finite


def test_a_loss_that_is_nan_from_the_start_is_an_error_that_names_the_batch(lm, pools, site):
    site.install("heads", HEADS.format(factor="float('nan')"), version="1.0")
    with pytest.raises(EdificeError, match="the loss of batch 0 of epoch 1 is nan"):
        et.fit_scorer(lm, pools, "explodes", **FAST)


def test_a_loss_that_becomes_nan_later_leaves_the_last_good_weights(lm, pools, monkeypatch):
    from edifice_tt.training import loop

    step, calls = loop.Loop._train_step, []

    def breaking(self, *batch):
        if len(calls) == 4 * 2 + 1:  # four batches an epoch: the second of the third
            weight = get_state_dict(self.head)["dense1.weight"]
            weight.assign(weight * float("nan")).realize()
        calls.append(1)
        return step(self, *batch)

    monkeypatch.setattr(loop, "TinyJit", lambda function: function)
    monkeypatch.setattr(loop.Loop, "_train_step", breaking)
    fit = et.fit_scorer(lm, pools, **FAST)
    assert fit.stopped == "the loss of batch 1 of epoch 3 is nan"
    assert len(fit.history) == 2
    assert all(np.isfinite(w).all() for w in weights_of(fit).values())
    assert fit.quality.auroc_within > 0.5


# --- wrong use


def marked(pools, correct):
    return [
        replace(p, candidates=tuple(replace(c, correct=correct) for c in p.candidates))
        for p in pools
    ]


def foreign(pools):
    settings = {"model": "other", "fingerprint": "0" * 32}
    return [replace(pool, settings=settings) for pool in pools]


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        (lambda pools: marked(pools, None), ValueError, "whether candidate 0 is right is not kn"),
        (lambda pools: marked(pools, True), ValueError, "all candidates are right"),
        (lambda pools: marked(pools, False), ValueError, "no candidate is right"),
        (lambda pools: [*pools, replace(pools[0], problem="x")], ValueError, "'0' and 'x' have"),
        (lambda pools: [replace(pools[3], candidates=())], ValueError, "'3' has no candidates"),
        (lambda pools: pools[:1], ValueError, "1 of 1 problems have right and wrong"),
        (foreign, EdificeError, "sampled by model 'other' with fingerprint 000"),
        (
            lambda pools: [replace(pools[0], problem="largest-test-1a"), *pools[1:]],
            EdificeError,
            "'largest-test-1a' and 0 more are of a test split",
        ),
    ],
)
def test_pools_that_cannot_be_trained_on_are_refused(lm, pools, change, error, words):
    with pytest.raises(error, match=words):
        et.fit_scorer(lm, change(pools), **FAST)


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"los": "outcome"}, UnknownNameError, "did you mean 'loss'"),
        ({"loss": "outcom"}, UnknownNameError, "did you mean 'outcome'"),
        ({"scorer": "mpl"}, UnknownNameError, "did you mean 'mlp'"),
        ({"scorer": "logprob"}, EdificeError, "reads logprobs"),
        ({"layer": 2}, ValueError, "layer=2 must be a whole number from 1 to 1"),
        ({"lr": 0}, ValueError, "lr=0 must be"),
        ({"epochs": 0}, ValueError, "epochs=0 must be"),
        ({"held_out": 1.0}, ValueError, "held_out=1.0 must be"),
        ({"calibration": "none"}, ValueError, "must be platt or temperature"),
    ],
)
def test_options_that_cannot_work_are_refused(lm, pools, options, error, words):
    with pytest.raises(error, match=words):
        et.fit_scorer(lm, pools, **options)
