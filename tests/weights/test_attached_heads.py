"""A model keeps the head that it was given: it is scored by it, saved with it, and loaded again."""

import numpy as np
import pytest
from fake_plugins import Site, open_site
from tinygrad import Tensor
from tinygrad.nn.state import get_parameters

import edifice_tt as et
from edifice_tt.contract.errors import EdificeError, UnknownNameError
from edifice_tt.nn.heads import LinearScorer, MLPScorer
from edifice_tt.testing import small_pool, tiny_model

site = pytest.fixture(open_site, name="site")

PLUGIN = """
import edifice_tt
from tinygrad import Tensor

class Scaled:
    def __init__(self, hidden_size, factor=1.0):
        self.weight, self.factor = Tensor.ones(hidden_size), factor

    def __call__(self, hidden):
        return (hidden.float() * self.weight).sum(-1, keepdim=True) * self.factor

@edifice_tt.hookimpl
def register_scorers(register):
    for name in {names}:
        register(name, lambda hidden_size: Scaled(hidden_size), reads="hidden")
"""


@pytest.fixture
def headless(tmp_path):
    """The file of a language model without a head."""
    path = tmp_path / "headless.safetensors"
    et.save(tiny_model(scorer=None), path)
    return path


def scores(lm, scorer):
    return [candidate.scores[scorer] for candidate in et.score(lm, small_pool(), scorer)]


def trained(lm):
    for i, weight in enumerate(get_parameters(lm.scorer)):
        weight.assign(Tensor(np.full(weight.shape, 0.25 * (i + 1), np.float32))).realize()
    return lm


@pytest.mark.slow
def test_a_model_is_loaded_with_a_head_that_is_trained_saved_and_loaded_again(headless, tmp_path):
    lm = trained(et.load_pretrained(headless, scorer="mlp"))
    expected, path = scores(lm, "mlp"), tmp_path / "trained.safetensors"
    et.save(lm, path)
    for again in (et.load_pretrained(path), et.load_pretrained(path, scorer="mlp")):
        assert again.config.scorer == "mlp"
        assert scores(again, "mlp") == expected


@pytest.mark.slow
def test_a_head_that_the_model_was_given_is_scored_by_saved_and_loaded(headless, tmp_path):
    lm, path = et.load_pretrained(headless), tmp_path / "given.safetensors"
    lm.scorer = MLPScorer(lm.config.hidden_size, scorer_hidden=7, dropout=0.0, seed=5)
    expected = scores(lm, "mlp")
    et.save(lm, path)
    again = et.load(path)
    assert (again.config.scorer, again.config.scorer_hidden) == ("mlp", 7)
    assert scores(again, "mlp") == expected


def test_another_head_than_the_config_names_is_saved_by_its_own_name(tmp_path):
    model = et.build("test_time_compute", embed_dim=8, hidden_size=16, num_layers=1, seed=0)
    model.scorer = LinearScorer(16, seed=3)
    et.save(model, tmp_path / "model.safetensors")
    again = et.load(tmp_path / "model.safetensors")
    assert again.config.scorer == "linear"
    assert (again.scorer.dense.weight == model.scorer.dense.weight).all().item()


@pytest.mark.slow
def test_a_head_is_not_scored_by_under_the_name_of_another():
    lm = tiny_model(scorer="linear")
    lm.scorer = MLPScorer(lm.config.hidden_size, scorer_hidden=7, dropout=0.0, seed=5)
    with pytest.raises(EdificeError, match="'linear' reads hidden states, so it must be"):
        et.score(lm, small_pool(), "linear")
    assert len(scores(lm, "mlp")) == 6


def test_a_model_whose_head_was_taken_away_is_saved_without(tmp_path):
    lm = tiny_model(scorer="linear")
    lm.scorer = None
    et.save(lm, tmp_path / "model.safetensors")
    assert et.load(tmp_path / "model.safetensors").scorer is None


def test_a_head_that_nobody_registered_is_refused_before_anything_is_written(headless, tmp_path):
    class Own(LinearScorer):
        pass

    lm, path = et.load_pretrained(headless), tmp_path / "own.safetensors"
    lm.scorer = Own(lm.config.hidden_size, seed=1)
    with pytest.raises(EdificeError, match="no registered scorer makes the model's head, a Own"):
        et.save(lm, path)
    assert not path.exists()
    with pytest.raises(EdificeError, match="'linear' reads hidden states"):
        et.score(lm, small_pool(), "linear")


def test_a_head_with_another_setting_than_its_factory_gives_is_refused(site: Site, tmp_path):
    site.install("scaled", PLUGIN.format(names=("scaled",)))
    lm = tiny_model(scorer="scaled")
    et.save(lm, tmp_path / "model.safetensors")
    lm.scorer = type(lm.scorer)(lm.config.hidden_size, factor=3.0)
    with pytest.raises(EdificeError, match="a Scaled with these weights and attributes"):
        et.save(lm, tmp_path / "model.safetensors")


@pytest.mark.slow
def test_a_head_of_two_names_is_refused_unless_the_config_says_which(site: Site, tmp_path):
    site.install("scaled", PLUGIN.format(names=("one", "two")))
    lm, path = tiny_model(scorer="two"), tmp_path / "model.safetensors"
    et.save(lm, path)
    assert et.load(path).config.scorer == "two"
    head, lm = lm.scorer, tiny_model(scorer=None)
    lm.scorer = head
    assert scores(lm, "one") == scores(lm, "two")
    with pytest.raises(EdificeError, match="may be any of the scorers one, two; load the model"):
        et.save(lm, path)


def test_a_scorer_that_cannot_be_the_head_is_refused(headless, tmp_path, monkeypatch):
    path = tmp_path / "linear.safetensors"
    et.save(tiny_model(scorer="linear"), path)
    with pytest.raises(EdificeError, match="has a head already, 'linear', given 'mlp'"):
        et.load_pretrained(path, scorer="mlp")
    monkeypatch.setattr("edifice_tt.weights.pretrained.load_builtin", None)  # nothing is read
    with pytest.raises(UnknownNameError, match="unknown scorer 'mlq'"):
        et.load_pretrained(headless, scorer="mlq")
    with pytest.raises(ValueError, match="scorer='logprob' reads logprobs, so it is no head"):
        et.load_pretrained(headless, scorer="logprob")
