"""The compiled model: as exact as eager, per instance, results that stay."""

import gc
import threading

import numpy as np
import pytest
from tinygrad import Tensor
from tinygrad.helpers import Context
from tinygrad.nn.state import get_state_dict

import edifice_tt as et
from edifice_tt.engine import jit
from edifice_tt.nn.blocks import rope_tables
from edifice_tt.nn.cpu import team


def make(seed, **options):
    sizes = {"embed_dim": 8, "hidden_size": 8, "num_layers": 1, "num_heads": 2, "num_kv_heads": 1}
    return et.build("test_time_compute", **(sizes | options), scorer_hidden=5, seed=seed)


@pytest.fixture(scope="module")
def inputs():
    return np.random.default_rng(2).standard_normal((5, 2, 3, 8)).astype(np.float32)


@pytest.mark.slow
def test_results_equal_eager_and_stay_valid(inputs):
    """Five inputs, results compared after the last call: a shared buffer would hold the last."""
    model = make(1)
    fast = et.jit(model)
    results = [fast(Tensor(x)) for x in inputs]
    for x, result in zip(inputs, results, strict=True):
        eager = model(Tensor(x))
        assert (result.backbone.numpy() == eager.backbone.numpy()).all()
        assert (result.scores.numpy() == eager.scores.numpy()).all()


@pytest.mark.slow
def test_each_instance_has_its_own_capture(inputs):
    models = [make(1), make(2)]
    fast = [et.jit(model) for model in models]
    for _ in range(3):
        answers = [f(Tensor(inputs[0])).scores.numpy() for f in fast]
    expected = [model(Tensor(inputs[0])).scores.numpy() for model in models]
    assert (answers[0] == expected[0]).all()
    assert (answers[1] == expected[1]).all()
    assert np.abs(answers[0] - answers[1]).max() > 1e-3


@pytest.mark.slow
def test_shapes_may_come_in_any_order(inputs):
    model = make(1)
    fast = et.jit(model)
    for _ in range(3):
        for rows in (2, 1):
            x = Tensor(inputs[0, :rows])
            assert (fast(x).scores.numpy() == model(x).scores.numpy()).all()


def test_views_and_constants_are_inputs_like_any_other(inputs):
    model = make(1)
    fast = et.jit(model)
    view = Tensor(inputs[0]).flip(1)
    constant = Tensor.ones(2, 3, 8)
    for x in (view, constant, view, constant):
        assert fast(x).scores.numpy() == pytest.approx(model(x).scores.numpy(), abs=1e-6)


def test_the_model_gains_no_weight_by_being_compiled(inputs):
    model = make(1)
    before = set(get_state_dict(model))
    fast = et.jit(model)
    for _ in range(3):
        fast(Tensor(inputs[0]))
    assert set(get_state_dict(model)) == before


@pytest.mark.slow
def test_training_does_not_replay_the_capture_of_inference(inputs):
    model = make(1, dropout=0.5)
    fast = et.jit(model)
    quiet = [fast(Tensor(inputs[0])).scores.numpy() for _ in range(3)][-1]
    with Context(TRAINING=1):
        noisy = fast(Tensor(inputs[0])).scores.numpy()
    assert np.abs(quiet - noisy).max() > 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("rows", [2, 90])  # 90 rows of 3 tokens are enough for a second core
@pytest.mark.parametrize(("home", "given_on"), [("CPU", "PYTHON"), ("CPU:1", "CPU")])
def test_an_input_that_lies_elsewhere_is_read_where_the_model_is(inputs, home, given_on, rows):
    """And the result comes back there: a Tensor is often made before the model chose a device."""
    model = make(1, device=home)
    x = np.resize(inputs[0], (rows, 3, 8))
    expected = make(1)(Tensor(x)).scores.numpy()
    fast = et.jit(model)
    for _ in range(3):
        scores = fast(Tensor(x, device=given_on)).scores
        assert scores.device == given_on
        assert (scores.numpy() == expected).all()


@pytest.mark.slow
@pytest.mark.parametrize("devices", [["CPU"], ["CPU", "CPU:1"], ["CPU", "CPU:1", "CPU:2"], None])
def test_the_devices_change_no_number(devices):
    """Parts of one and two rows; three calls, since the third replays side by side."""
    model, rng = make(1), np.random.default_rng(4)
    inputs = [rng.standard_normal((5, 80, 8)).astype(np.float32) for _ in range(3)]
    fast = et.jit(model, devices=devices)
    results = [fast(Tensor(x)) for x in inputs]
    for x, result in zip(inputs, results, strict=True):
        eager = model(Tensor(x))
        assert (result.backbone.numpy() == eager.backbone.numpy()).all()
        assert (result.scores.numpy() == eager.scores.numpy()).all()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("devices", "layers", "tokens"),
    [
        (["CPU"], 3, 83),
        (["CPU", "CPU:1"], 3, 83),
        (["CPU", "CPU:1", "CPU:2"], 1, 83),
        (["CPU", "CPU:1", "CPU:2"], 3, 83),
        (["CPU", "CPU:1"], 2, 211),  # more rows on each than go through a layer together
        (None, 1, 83),
    ],
)
def test_cores_that_share_the_work_on_a_text_change_no_number(monkeypatch, devices, layers, tokens):
    monkeypatch.setattr(team, "LEAST", 1)  # else these layers are too small to be shared
    model, rng = make(1, num_layers=layers), np.random.default_rng(4)
    inputs = [rng.standard_normal((1, tokens, 8)).astype(np.float32) for _ in range(20)]
    fast = et.jit(model, devices=devices)
    results = [fast(Tensor(x)) for x in inputs]
    cores = 1 if fast._team is None else len(fast._team._helpers) + 1
    assert devices is None or cores == len(devices)
    for x, result in zip(inputs, results, strict=True):
        eager = model(Tensor(x))
        assert (result.backbone.numpy() == eager.backbone.numpy()).all()
        assert (result.scores.numpy() == eager.scores.numpy()).all()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("shape", "cores"),
    [((5, 80, 8), 3), ((2, 80, 8), 2), ((2, 20, 8), 1), ((1, 83, 8), 1)],
)
def test_by_default_every_core_takes_part_where_there_is_enough_for_it(monkeypatch, shape, cores):
    """24 positions make one more core worth while; a batch is shared out by whole texts.

    On a single text all cores work together.
    """
    monkeypatch.setattr(jit, "devices_beside", lambda device: ["CPU", "CPU:1", "CPU:2"])
    fast = et.jit(make(1))
    fast(Tensor(np.ones(shape, np.float32)))
    assert [len(parts) for parts in fast._parts.values()] == [cores]
    helpers = 0 if fast._team is None else len(fast._team._helpers)
    assert helpers == (2 if shape[0] == 1 else 0)


@pytest.mark.slow
def test_every_call_runs_the_parts_on_threads_of_their_own(monkeypatch):
    fast, threads = et.jit(make(1), devices=["CPU", "CPU:1"]), set()
    replay = jit.Replay.__call__

    def noted(self):
        threads.add(threading.get_ident())
        replay(self)

    monkeypatch.setattr(jit.Replay, "__call__", noted)
    for _ in range(2):
        fast(Tensor(np.ones((2, 40, 8), np.float32)))
        assert len(threads) == 2


def test_the_jobs_of_a_text_are_given_to_a_team_that_is_awake(monkeypatch):
    monkeypatch.setattr(team, "LEAST", 1)  # else these layers are too small to be shared
    jobs_when_awake, enter, leave = [], team.Team.__enter__, team.Team.__exit__
    lane = 3 * team.CACHE_LINE // 8  # of the leader; its upper half counts jobs, see `c/team.c`

    def noted(self, *given):
        jobs_when_awake.append(int(self._words[lane]) >> 32)
        (leave if given else enter)(self, *given)

    monkeypatch.setattr(team.Team, "__enter__", noted)
    monkeypatch.setattr(team.Team, "__exit__", noted)
    fast = et.jit(make(1), devices=["CPU", "CPU:1"])
    fast(np.ones((1, 40, 8), np.float32))
    before, after = jobs_when_awake
    assert after > before


@pytest.mark.slow
def test_those_who_help_with_a_text_are_gone_with_the_compiled_model():
    before = threading.active_count()
    fast = et.jit(make(1), devices=["CPU", "CPU:1", "CPU:2"])
    fast(np.ones((1, 40, 8), np.float32))
    assert threading.active_count() == before + 2
    del fast
    gc.collect()
    assert threading.active_count() == before


def test_an_input_is_left_as_it_was(inputs):
    fast = et.jit(make(1))
    array = inputs[0].copy()
    for _ in range(3):
        fast(Tensor(array))
    assert (array == inputs[0]).all()


def test_every_device_sees_a_weight_that_changed_in_place():
    model = make(1)
    fast = et.jit(model, devices=["CPU", "CPU:1"])
    x = Tensor(np.ones((2, 3, 8), np.float32))
    before = [fast(x).scores.numpy() for _ in range(3)][-1]
    model.scorer.dense2.bias.assign(model.scorer.dense2.bias + 1).realize()
    assert fast(x).scores.numpy() == pytest.approx(before + 1, abs=1e-6)


@pytest.mark.slow
def test_arrays_and_lists_go_where_tensors_do(tiny_lm):
    model, x = make(seed=0), np.arange(8, dtype=np.float32).reshape(1, 1, 8)
    fast, expected = et.jit(model), model(Tensor(x)).scores.numpy()
    for given in (x, x.astype(np.float64), x.tolist(), x.astype(np.int64), Tensor(x)):
        assert (fast(given).scores.numpy() == expected).all()
        assert (model(given).scores.numpy() == expected).all()
    ids = [[68, 69, 70]]
    logits = et.jit(tiny_lm)(ids).logits.numpy()
    assert logits == pytest.approx(tiny_lm(ids).logits.numpy(), abs=1e-5)


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (["text"], r"the input of jit is \['text'\]"),
        ([[1.0], [1.0, 2.0]], "the input of jit has rows of different lengths"),
        ([[2**40]], "holds whole numbers that are no int32"),
    ],
)
def test_what_holds_no_such_numbers_is_one_clear_error(x, message):
    with pytest.raises(ValueError, match=message):
        et.jit(make(seed=0))(x)


@pytest.mark.slow
@pytest.mark.parametrize("rows", [1, 2])
def test_a_model_is_replayed_though_its_first_call_makes_the_rotary_tables(rows):
    """Of a size that no test before has asked for."""
    rope_tables.cache_clear()
    fast = et.jit(make(1), devices=["CPU", "CPU:1"])
    fast(Tensor(np.ones((rows, 71, 8), np.float32)))
    assert [part.is_replayed for parts in fast._parts.values() for part in parts] == [True] * rows


def test_threads_that_share_a_compiled_model_get_their_own_results(inputs):
    """One shape: an input and its result lie where those of every other call lie."""
    model = make(1)
    fast = et.jit(model, devices=["CPU"])
    expected = [model(Tensor(x)).scores.numpy() for x in inputs]
    wrong = []

    def work(place):
        for _ in range(60):
            if not np.array_equal(fast(Tensor(inputs[place])).scores.numpy(), expected[place]):
                wrong.append(place)

    threads = [threading.Thread(target=work, args=(place,)) for place in range(len(inputs))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


@pytest.mark.slow
@pytest.mark.parametrize(("rows", "tokens"), [(1, 5), (1, 70), (3, 29)])
def test_a_model_that_returns_one_tensor_is_compiled_too(tiny_lm, rows, tokens):
    x = np.random.default_rng(rows).normal(size=(rows, tokens, 24)).astype(np.float32)
    expected = tiny_lm.backbone(Tensor(x)).numpy()
    found = et.jit(tiny_lm.backbone, devices=["CPU", "CPU:1"])(x).numpy()
    assert found.shape == expected.shape
    assert found == pytest.approx(expected, abs=1e-5)
