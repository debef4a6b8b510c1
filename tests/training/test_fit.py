"""Training finds what is there to be found, the same way each time, and refuses wrong use."""

from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import pytest
from fake_plugins import open_site
from tinygrad import Tensor
from tinygrad.nn.state import get_state_dict

import edifice_tt as et
from edifice_tt.contract.errors import CheckpointError, EdificeError, UnknownNameError
from edifice_tt.machine.files import working_alone
from edifice_tt.study.quality import auroc
from edifice_tt.training import fit as training_fit
from edifice_tt.training.examples import every_token, step_ends
from edifice_tt.training.features import POSITIONS, read_features
from edifice_tt.training.fit import positions_needed
from edifice_tt.training.progress import load_run

site = pytest.fixture(open_site, name="site")

FAST = {"lr": 0.05, "epochs": 6, "scorer_hidden": 8, "folds": 2}


@pytest.fixture(scope="module")
def read(lm, pools):
    """The features of all pools, by positions; `read(positions)`."""
    found = {positions: read_features(lm, pools, positions=positions) for positions in POSITIONS}
    return found.__getitem__


@pytest.fixture(scope="module")
def fit(lm, pools, read):
    """Train on the first 28 of the problems, quickly."""

    def fit(scorer="mlp", some=None, positions="last", **options):
        some = pools[:28] if some is None else some
        return et.fit_scorer(lm, some, scorer, **{"features": read(positions), **FAST, **options})

    return fit


@pytest.fixture(scope="module")
def whole(fit):
    return fit(dropout=0.2)


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


def score_quietly(lm, pool, verifier):
    return et.score(lm, pool, replace(verifier, trained_on=frozenset()))


# --- it learns


@pytest.mark.slow
@pytest.mark.parametrize("loss", ["outcome", "pairwise", "token", "step"])
def test_it_ranks_answers_to_problems_it_has_not_seen(pools, read, fit, whole, loss):
    """Twelve new problems of eight answers; by luck their mean AUROC is 0.5 with a deviation of
    about 0.06, so 0.85 is out of luck's reach."""
    positions = "last" if loss in ("outcome", "pairwise") else "all"
    found = whole if loss == "outcome" else fit(loss=loss, positions=positions)
    aurocs = []
    for pool in pools[28:]:
        scores = [float(logits[-1]) for logits in found.verifier.logits(read("last").of(pool))]
        aurocs.append(auroc([scores], [[bool(c.correct) for c in pool]])[0])
    assert np.nanmean(aurocs) > 0.85
    assert found.history[-1].loss < found.history[0].loss
    assert found.verifier.figures["auroc_within"] == found.quality.auroc_within > 0.8


@pytest.mark.slow
def test_where_nothing_is_to_be_learned_it_says_so(pools, fit):
    """A coin's labels: held out the AUROC stays near a half, and the probabilities near 1/2."""
    found = fit(some=shuffled(pools))
    assert 0.35 < found.quality.auroc_within < 0.65
    scores = [c.scores["verifier"] for pool in found.pools for c in pool]
    assert max(scores) - min(scores) < 0.6


@pytest.mark.slow
def test_probabilities_are_what_they_say(lm, pools, whole):
    scored = [c for pool in pools[28:36] for c in et.score(lm, pool, whole.verifier)]
    scores = np.array([c.scores["verifier"] for c in scored])
    right = np.array([bool(c.correct) for c in scored])
    assert np.mean((scores - right) ** 2) < 0.15  # 0.25 says nothing
    assert abs(scores.mean() - right.mean()) < 0.1


@pytest.mark.slow
def test_each_problem_is_scored_by_a_head_that_has_not_seen_it(pools, fit):
    """A problem's marks turned round move its own scores by the temperature alone."""
    turned = replace(
        pools[3], candidates=tuple(replace(c, correct=not c.correct) for c in pools[3])
    )
    found = [
        fit(
            some=[*pools[:3], pool, *pools[4:28]],
            epochs=1,
            balance=False,
            calibration="temperature",
        )
        for pool in (pools[3], turned)
    ]
    scores = [np.array([c.scores["verifier"] for c in one.pools[3]]) for one in found]
    first, second = (np.log(p / (1 - p)) for p in scores)
    np.testing.assert_allclose(first / second, first[0] / second[0], rtol=1e-4)
    assert not same(*map(weights_of, found))
    assert [pool.problem for pool in found[0].pools] == [pool.problem for pool in pools[:28]]


# --- the same each time


@pytest.fixture(scope="module")
def again(fit):
    """The same once more, without features; and random numbers around it, beside those alone."""
    Tensor.manual_seed(5)
    alone = Tensor.rand(3).tolist() + Tensor.rand(3).tolist()
    Tensor.manual_seed(5)
    around = Tensor.rand(3).tolist()
    found = fit(dropout=0.2, features=None)
    return found, around + Tensor.rand(3).tolist(), alone


@pytest.mark.slow
def test_same_seed_gives_the_same_weights_bit_for_bit(fit, whole, again):
    assert same(weights_of(whole), weights_of(again[0]))
    assert again[0].history == whole.history
    assert not same(weights_of(whole), weights_of(fit(seed=1, epochs=1)))


@pytest.mark.slow
def test_features_are_read_when_they_are_not_given(lm, whole, again):
    assert positions_needed(lm, "mlp") == "last"
    assert positions_needed(lm, "mlp", "token") == "all"
    assert again[0].pools == whole.pools


@pytest.mark.slow
def test_it_leaves_the_callers_random_numbers_alone(again):
    _, around, alone = again
    assert around == alone


@pytest.mark.slow
def test_a_run_that_was_killed_goes_on_as_if_nothing_had_happened(fit, whole, tmp_path):
    """In a fold, and in the training on all problems."""
    seen = []
    for place in [(2, 1), (0, 2), None]:

        def kill(epoch, place=place):
            seen.append(epoch)
            if (epoch.fold, epoch.epoch) == place:
                raise KeyboardInterrupt

        with nullcontext() if place is None else pytest.raises(KeyboardInterrupt):
            resumed = fit(dropout=0.2, checkpoint=tmp_path / "run", on_epoch=kill)
    assert tuple(seen) == resumed.history == whole.history
    assert same(weights_of(whole), weights_of(resumed))
    assert resumed.verifier.slope == whole.verifier.slope
    assert resumed.pools == whole.pools


@pytest.mark.slow
def test_a_checkpoint_of_another_run_is_refused(fit, pools, tmp_path):
    path = tmp_path / "run"
    fit(checkpoint=path, epochs=1)
    with pytest.raises(EdificeError, match=r"run is the checkpoint of a training with other"):
        fit(checkpoint=path, epochs=2)
    flipped = replace(pools[0].candidates[0], correct=not pools[0].candidates[0].correct)
    other = replace(pools[0], candidates=(flipped, *pools[0].candidates[1:]))
    with pytest.raises(EdificeError, match="with other problems or options"):
        fit(some=[other, *pools[1:28]], checkpoint=path, epochs=1)
    path.write_bytes(path.read_bytes().replace(b"folds", b"flods"))
    with pytest.raises(CheckpointError, match="description is damaged"):
        fit(checkpoint=path, epochs=1)


@pytest.mark.slow
@pytest.mark.parametrize("part", ["state", "best"])
def test_a_checkpoint_whose_weights_do_not_fit_is_refused_by_name(fit, tmp_path, monkeypatch, part):
    path = tmp_path / "run"
    fit(checkpoint=path, epochs=1)

    def cut(*given):
        run = load_run(*given)
        arrays = {name: array[..., :1] for name, array in getattr(run.current, part).items()}
        return replace(run, current=replace(run.current, **{part: arrays}))

    monkeypatch.setattr(training_fit, "load_run", cut)
    with pytest.raises(CheckpointError, match="its weights are not those") as caught:
        fit(checkpoint=path, epochs=1)
    assert str(caught.value).startswith(f"{path}: ")


@pytest.mark.slow
def test_a_checkpoint_that_another_process_trains_with_is_refused(fit, tmp_path):
    with working_alone(tmp_path / "run"), pytest.raises(BlockingIOError, match="another process"):
        fit(checkpoint=tmp_path / "run", epochs=1)


@pytest.mark.slow
def test_each_fold_stops_when_nothing_gets_better_and_their_mean_trains_on_all(pools, fit):
    found = fit(some=shuffled(pools), epochs=60, patience=3)
    assert found.stopped == "patience"
    best = []
    for fold in (1, 2):
        losses = [epoch.held_out_loss for epoch in found.history if epoch.fold == fold]
        best.append(losses.index(min(losses)) + 1)
        assert len(losses) == best[-1] + 3
    last = [epoch for epoch in found.history if epoch.fold == 0]
    assert len(last) == found.best_epoch == round(sum(best) / 2)
    assert {epoch.held_out_loss for epoch in last} == {None}


# --- targets, features, heads of plugins


@pytest.mark.slow
def test_targets_may_be_ones_own_and_masked(fit):
    """Told the opposite, it ranks the wrong ones first; where nothing is asked, it hears nothing.

    A ranking by luck has a mean AUROC between 0.3 and 0.7, as above."""

    def opposite(candidate):
        return [None, None, 1 - float(candidate.correct)]

    assert fit(targets=opposite, positions="all").quality.auroc_within < 0.2


def test_steps_end_where_the_separator_stands(lm):
    ids = tuple(3 + b for b in b"a\nbc\nd")
    candidate = et.Candidate(0, "", ids, correct=True)
    assert step_ends(lm)(candidate) == [None, 1, None, None, 1, 1]
    assert every_token(replace(candidate, correct=False)) == [0] * 6


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "reads", "ends"),
    [
        ({"loss": "step"}, "steps", {3 + ord("\n")}),
        ({"loss": "token"}, "tokens", frozenset()),
        ({"loss": "pairwise"}, "last", frozenset()),
        ({"loss": "step", "targets": every_token}, "last", frozenset()),
    ],
)
def test_a_verifier_reads_the_tokens_that_it_was_trained_at(fit, monkeypatch, options, reads, ends):
    class ReadyError(Exception):
        pass

    def train(loop, verifier, *others):
        assert (verifier.reads, verifier.ends) == (reads, ends)
        raise ReadyError

    monkeypatch.setattr(training_fit, "train_in_folds", train)
    with pytest.raises(ReadyError):
        fit(positions="last" if options["loss"] == "pairwise" else "all", **options)


@pytest.mark.slow
def test_a_verifier_of_steps_is_calibrated_by_what_it_reads_of_answers(fit, pools, monkeypatch):
    asked, read = [], et.Verifier.answer_logits

    def heard(self, states, answers):
        answers = list(answers)
        asked.extend(map(tuple, answers))
        return read(self, states, answers)

    monkeypatch.setattr(et.Verifier, "answer_logits", heard)
    fit(loss="step", positions="all", epochs=1, some=pools[:4])
    assert sorted(asked) == sorted(one.token_ids for pool in pools[:4] for one in pool)


@pytest.mark.parametrize("given", [[1.0], [1.0, None, 2.0]])
def test_targets_that_do_not_fit_are_named(fit, given):
    with pytest.raises(ValueError, match=r"targets .* candidate 0 of problem"):
        fit(targets=lambda c: given, positions="all")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("fingerprint", "0" * 32),
        ("tokenizer", "0" * 16),
        ("layer", 7),
        ("positions", "all"),
        ("hidden_size", 99),
    ],
)
def test_features_of_something_else_are_refused(fit, read, name, value):
    features = read("last")
    other = replace(features, source=replace(features.source, **{name: value}))
    with pytest.raises(EdificeError, match=rf"features are of {name}={value!r}, this training nee"):
        fit(features=other)


def test_features_of_another_pool_are_refused(lm, pools, fit):
    with pytest.raises(EdificeError, match="no candidate 0 of problem '1'; compute them from"):
        fit(features=read_features(lm, pools[:1]))


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


@pytest.mark.slow
def test_a_head_of_a_plugin_that_looks_back_and_gives_probabilities(lm, pools, fit, site, tmp_path):
    site.install("heads", HEADS.format(factor=1), version="1.0")
    found = fit("mean", lr=0.1, positions="all")
    assert positions_needed(lm, "mean") == "all"
    assert found.quality.auroc_within > 0.6
    found.verifier.save(tmp_path / "mean")
    again = et.load_verifier(tmp_path / "mean")
    first, second = (score_quietly(lm, pools[0], v) for v in (found.verifier, again))
    assert first == second


def test_a_head_without_weights_cannot_be_trained(fit, site):
    site.install("heads", HEADS.format(factor=1), version="1.0")
    with pytest.raises(EdificeError, match="'bare' has no weights"):
        fit("bare")


# --- a loss that is not finite


@pytest.mark.slow
def test_a_loss_that_is_nan_from_the_start_is_an_error_that_names_the_batch(fit, site):
    site.install("heads", HEADS.format(factor="float('nan')"), version="1.0")
    with pytest.raises(EdificeError, match="the loss of batch 0 of epoch 1 of fold 1 is nan"):
        fit("explodes")


def poison(monkeypatch, fold, epoch, batch):
    """Put NaN into a batch that is trained on."""
    from edifice_tt.training import loop

    run, make, now = loop.Loop._epoch, loop.batches, []

    def begin(self, examples, held_out, *place):
        now[:] = [place == (fold, epoch)]
        return run(self, examples, held_out, *place)

    def poisoned(*given):
        is_here = now.pop() if now else False  # the first batches of an epoch are trained on
        for number, (states, *others) in enumerate(make(*given)):
            yield (states * (np.nan if is_here and number == batch else 1), *others)

    monkeypatch.setattr(loop.Loop, "_epoch", begin)
    monkeypatch.setattr(loop, "batches", poisoned)


@pytest.mark.slow
def test_a_loss_that_becomes_nan_later_leaves_the_last_good_weights(fit, monkeypatch):
    poison(monkeypatch, fold=2, epoch=2, batch=1)
    found = fit(epochs=3)
    assert found.stopped == "the loss of batch 1 of epoch 2 of fold 2 is nan"
    assert [epoch.epoch for epoch in found.history if epoch.fold == 2] == [1]
    assert all(np.isfinite(w).all() for w in weights_of(found).values())
    assert found.quality.auroc_within > 0.5


@pytest.mark.slow
def test_a_run_that_became_nan_goes_on_from_its_last_good_weights(
    fit, whole, monkeypatch, tmp_path
):
    with monkeypatch.context() as patch:
        poison(patch, fold=0, epoch=2, batch=1)
        broken = fit(dropout=0.2, checkpoint=tmp_path / "run")
    assert (broken.stopped, broken.best_epoch) == ("the loss of batch 1 of epoch 2 is nan", 1)
    assert all(np.isfinite(w).all() for w in weights_of(broken).values())
    resumed = fit(dropout=0.2, checkpoint=tmp_path / "run")
    assert resumed.stopped == whole.stopped
    assert same(weights_of(resumed), weights_of(whole))


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
            lambda pools: [*pools[:5], *foreign(pools[5:6])],
            EdificeError,
            "problem '5' was sampled by model 'other'",
        ),
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
        ({"folds": 1}, ValueError, "folds=1 must be at least 2"),
        ({"calibration": "none"}, ValueError, "must be platt or temperature"),
    ],
)
@pytest.mark.first(3)
def test_options_that_cannot_work_are_refused(lm, pools, options, error, words):
    with pytest.raises(error, match=words):
        et.fit_scorer(lm, pools, **options)


@pytest.mark.slow
def test_training_tells_how_far_it_is(lm, pools):
    seen, few = [], {"epochs": 1, "folds": 2, "scorer_hidden": 3}
    fit = et.fit_scorer(lm, pools[:5], progress=seen.append, **few)
    assert [one.done for one in seen if one.what == "reading"] == [0, 1, 2, 3, 4, 5]
    epochs = [(one.done, one.total) for one in seen if one.what == "epochs"]
    assert epochs == [(done, None) for done in range(len(fit.history) + 1)]
    assert seen[-1].what == "epochs"


@pytest.mark.slow
def test_comparing_layers_tells_how_far_it_is(lm, pools):
    seen = []
    et.compare_layers(lm, pools[:5], [1], **{**FAST, "epochs": 1}, progress=seen.append)
    assert [(one.done, one.total) for one in seen if one.what == "layers"] == [(0, 1), (1, 1)]
    assert [one.done for one in seen if one.what == "reading"] == [0, 1, 2, 3, 4, 5]
