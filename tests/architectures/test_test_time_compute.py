"""The port: the original's numbers, its choice, and where it is stricter."""

import json
from pathlib import Path

import numpy as np
import numpy_reference as reference
import pytest
from tinygrad import Tensor
from tinygrad.nn.state import get_parameters, get_state_dict, safe_load

import edifice_tt as et
from edifice_tt.contract.errors import EdificeError, UnknownNameError

GOLDEN = Path(__file__).parent.parent / "golden"
INDEX = json.loads((GOLDEN / "index.json").read_text())["files"]
CHOICES = json.loads((GOLDEN / "select_best_of_n.json").read_text())
SMALL = {"embed_dim": 8, "hidden_size": 8, "num_layers": 1, "num_heads": 2, "num_kv_heads": 1}


QUICK = ("tiny",)


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=() if n in QUICK else pytest.mark.slow) for n in INDEX]
)
def test_golden_numbers_are_reproduced_eager_and_jitted(name):
    path = GOLDEN / f"{name}.safetensors"
    golden = {key: tensor.numpy() for key, tensor in safe_load(path).items()}
    model = et.load_edifice(path, **INDEX[name]["options"])
    fast = et.jit(model)
    x = Tensor(golden["input"])
    for out in (model(x), *(fast(x) for _ in range(3))):
        assert np.abs(out.backbone.numpy() - golden["backbone"]).max() <= 2e-5
        assert np.abs(out.scores.numpy() - golden["scores"]).max() <= 2e-5


@pytest.mark.parametrize("case", CHOICES, ids=lambda case: case["name"])
@pytest.mark.first(3)
def test_select_best_of_n_is_the_original_s(case):
    words = {"infinity": np.inf, "neg_infinity": -np.inf}
    scores = np.array([words.get(s, s) for s in case["scores"]], np.float32).reshape(case["shape"])
    best = et.select_best_of_n(Tensor(scores))
    assert best.shape == tuple(case["shape"][1:])
    assert best.numpy().ravel().tolist() == case["best"]
    assert best.numpy().dtype == np.int32


def test_nan_never_wins_over_a_number():
    nan, inf = float("nan"), float("inf")
    columns = [[nan, 1.0, 2.0], [nan, nan, -inf], [nan, nan, nan], [inf, nan, inf], [3.0, 3.0, nan]]
    scores = Tensor(np.array(columns, np.float32).T)
    assert et.select_best_of_n(scores).tolist() == [2, 2, 0, 0, 0]


@pytest.mark.parametrize("case", CHOICES, ids=lambda case: case["name"])
def test_an_array_and_lists_are_chosen_from_as_a_tensor_is(case):
    words = {"infinity": np.inf, "neg_infinity": -np.inf}
    scores = np.array([words.get(s, s) for s in case["scores"]], np.float32).reshape(case["shape"])
    for given in (scores, scores.astype(np.float64), scores.tolist()):
        best = et.select_best_of_n(given)
        assert isinstance(best, Tensor)
        assert best.shape == tuple(case["shape"][1:])
        assert best.numpy().ravel().tolist() == case["best"]
        assert best.numpy().dtype == np.int32


def test_numbers_of_an_array_are_not_rounded_before_they_are_compared():
    assert et.select_best_of_n([1.0, 1.0 + 2.0**-40]).item() == 1
    assert et.select_best_of_n([2**60, 2**60 + 1]).item() == 1
    assert et.select_best_of_n([float("nan"), float("-inf")]).item() == 0
    assert et.select_best_of_n(np.array([[np.nan, 1.0], [-3.0, np.nan]])).tolist() == [1, 0]


@pytest.mark.parametrize("scores", [[[1.0], [1.0, 2.0]], ["7", "8"], None, [True, False]])
def test_what_holds_no_numbers_is_refused_by_name(scores):
    with pytest.raises(ValueError, match=r"^scores "):
        et.select_best_of_n(scores)


@pytest.mark.parametrize("scores", [Tensor(1.0), Tensor.zeros(0, 3), 7.0, [], np.zeros((0, 3))])
def test_nothing_to_select_from_is_an_error(scores):
    with pytest.raises(ValueError, match=r"expected \(N, ...\) with N at least 1"):
        et.select_best_of_n(scores)


@pytest.mark.slow
def test_an_array_or_lists_are_an_input_too(rng):
    model = et.build("test_time_compute", **SMALL)
    x = rng.normal(size=(2, 3, 8)).astype(np.float32)
    expected = model(Tensor(x)).scores.numpy()
    for given in (x, x.astype(np.float64), x.tolist()):
        assert (model(given).scores.numpy() == expected).all()
    with pytest.raises(ValueError, match="input has rows of different lengths"):
        model([[[1.0] * 8], [[1.0] * 7]])
    with pytest.raises(ValueError, match="seed=-1 must be a whole number from 0"):
        et.build("test_time_compute", **SMALL, seed=-1)


@pytest.mark.slow
def test_a_built_model_matches_numpy_at_prime_sizes(rng):
    model = et.build(
        "test_time_compute",
        embed_dim=11,
        hidden_size=26,
        num_layers=2,
        num_heads=6,  # floored head size 4
        num_kv_heads=3,
        scorer_hidden=7,
        seed=5,
    )
    x = rng.standard_normal((2, 5, 11)).astype(np.float32)
    weights = {name: weight.numpy() for name, weight in get_state_dict(model).items()}
    out = model(Tensor(x))
    for row in range(2):
        hidden, scores = reference.test_time_compute(x[row], weights, model.config)
        assert out.backbone.numpy()[row] == pytest.approx(hidden, abs=2e-5)
        assert out.scores.numpy()[row] == pytest.approx(scores, abs=2e-5)


def test_the_registry_mirrors_the_original():
    assert list(et.recommended_defaults("test_time_compute").items()) == [
        ("hidden_size", 256),
        ("num_layers", 4),
        ("num_heads", 4),
        ("num_kv_heads", 2),
        ("scorer_hidden", 128),
        ("dropout", 0.1),
    ]
    assert et.output_size("test_time_compute") == 256
    assert et.output_size("test_time_compute", hidden_size=128) == 128
    built = et.build("test_time_compute", embed_dim=8).config
    assert {k: getattr(built, k) for k in et.recommended_defaults("test_time_compute")} == (
        et.recommended_defaults("test_time_compute")
    )


@pytest.mark.parametrize("alias", ["input_size", "input_dim", "obs_size"])
def test_the_original_s_names_for_embed_dim_are_accepted(alias):
    options = {name: value for name, value in SMALL.items() if name != "embed_dim"}
    assert et.build("test_time_compute", **options, **{alias: 5}).config.embed_dim == 5


def test_seq_len_is_recorded_and_any_length_runs():
    assert et.build("test_time_compute", **SMALL).config.seq_len == 60
    assert et.build("test_time_compute", **SMALL, window_size=9).config.seq_len == 9
    model = et.build("test_time_compute", **SMALL, seq_len=2, window_size=9)
    assert model.config.seq_len == 2
    assert model(Tensor.ones(1, 3, 8)).scores.shape == (1, 3, 1)


def test_same_seed_same_weights_and_the_head_does_not_move_the_backbone():
    models = [
        et.build("test_time_compute", **SMALL, seed=seed, scorer=scorer)
        for seed, scorer in ((3, "mlp"), (3, "mlp"), (4, "mlp"), (3, "linear"))
    ]
    first, again, other, linear = (
        {name: weight.numpy() for name, weight in get_state_dict(model).items()} for model in models
    )
    assert all((first[name] == again[name]).all() for name in first)
    q = "backbone.blocks.0.attn.q_proj.weight"
    assert (first[q] != other[q]).any()
    assert (first[q] == linear[q]).all()
    assert not (first["scorer.dense1.weight"][:8, :8] == first[q]).all()


def test_initial_values_are_the_original_s():
    model = et.build("test_time_compute", embed_dim=31, hidden_size=64, num_layers=1, seed=1)
    for name, weight in get_state_dict(model).items():
        values = weight.numpy()
        if "norm" in name:
            assert (values == (1 if name.endswith("weight") else 0)).all()
        elif name.endswith("bias"):
            assert (values == 0).all()
        else:
            limit = (6 / sum(values.shape)) ** 0.5
            assert np.abs(values).max() <= limit
            assert values.std() == pytest.approx(limit / 3**0.5, rel=0.1)


@pytest.mark.slow
def test_gradients_reach_every_weight(rng):
    model = et.build("test_time_compute", **SMALL, scorer_hidden=5)
    x = Tensor(rng.standard_normal((2, 3, 8)).astype(np.float32))
    weights = get_state_dict(model)
    for weight in weights.values():
        weight.requires_grad_() if hasattr(weight, "requires_grad_") else None
    model(x).scores.square().sum().backward()
    without = [n for n, w in weights.items() if w.grad is None or not np.any(w.grad.numpy())]
    # A softmax does not change when all keys shift alike, so the key bias has no gradient.
    assert without in ([], ["backbone.blocks.0.attn.k_proj.bias"])


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"embed_dim": 0}, ValueError, "embed_dim=0 must be a whole number, at least 1"),
        ({"num_layers": 0}, ValueError, "num_layers=0"),
        ({"dropout": 1.0}, ValueError, "dropout=1.0 must be at least 0 and below 1"),
        ({"dropout": -0.1}, ValueError, "dropout=-0.1"),
        ({"hiden_size": 8}, UnknownNameError, "did you mean 'hidden_size'"),
        ({"scorer": "mpl"}, UnknownNameError, "unknown scorer 'mpl'; did you mean 'mlp'"),
        ({"scorer": "logprob"}, EdificeError, "reads logprobs, so it cannot be a head"),
        ({"num_kv_heads": 3}, ValueError, "use num_kv_heads=1 or 2"),
    ],
)
def test_options_that_cannot_work_are_one_clear_error(options, error, message):
    with pytest.raises(error, match=message):
        et.build("test_time_compute", **{**SMALL, **options})


def test_embed_dim_is_required():
    with pytest.raises(ValueError, match="needs embed_dim; give embed_dim="):
        et.build("test_time_compute")


@pytest.mark.parametrize("shape", [(2, 3), (2, 3, 7), (1, 2, 3, 8), (0, 3, 8), (2, 0, 8)])
def test_a_wrong_input_shape_names_both_shapes(shape):
    model = et.build("test_time_compute", **SMALL)
    with pytest.raises(ValueError, match=r"expected \(batch, tokens, embed_dim=8\)"):
        model(Tensor.zeros(*shape))


def test_every_weight_is_on_the_device_asked_for():
    model = et.build("test_time_compute", **SMALL, device="CPU:1")
    assert {str(weight.device) for weight in get_parameters(model)} == {"CPU:1"}
    assert model(Tensor.ones(1, 2, 8)).scores.device == "CPU:1"
