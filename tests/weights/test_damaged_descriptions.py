"""What our own files say of themselves, damaged: one error of one line, and nothing is built."""

import json
import tracemalloc

import numpy as np
import pytest
from tinygrad import Tensor

import edifice_tt as et
from edifice_tt.contract.errors import CheckpointError, EdificeError
from edifice_tt.machine.json_text import parse, parse_record, take
from edifice_tt.scoring.verifier import new_head
from edifice_tt.training.features import Features, Source, load_features, save_features
from edifice_tt.training.progress import Epoch, Fold, Progress, Run, load_run, save_run
from edifice_tt.weights.safetensors import open_safetensors, write_safetensors

LM = {"vocab_size": 37, "hidden_size": 8, "num_layers": 1, "num_heads": 2, "num_kv_heads": 1}
HUGE = 10**40
NOTHING = [None, [], {}, True, "", "x", 1.5, -1, 0, HUGE, [[]], float("nan"), 1e308]


def described(path, key):
    return json.loads(open_safetensors(path).metadata[key])


def describe(path, key, said):
    """Write another description into a file, its tensors untouched."""
    raw = path.read_bytes()
    length = int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8 : 8 + length])
    header["__metadata__"][key] = said
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + raw[8 + length :])


def refused(read, path, message="."):
    with pytest.raises(CheckpointError, match=message) as caught:
        read(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "lm.safetensors"
    et.save(et.build("causal_lm", **LM), path)
    return path


@pytest.fixture
def model(saved, tmp_path):
    path = tmp_path / "m.safetensors"
    path.write_bytes(saved.read_bytes())
    return path


@pytest.mark.parametrize(
    "said", ["5", "[]", "null", '"x"', "", "{", '{"a": 1, "a": 1}', "[" * 9999]
)
def test_options_that_are_no_record_are_refused(model, said):
    describe(model, "options", said)
    refused(et.load, model, "its description is damaged")


@pytest.mark.parametrize("option", ["name", "device", "dtype"])
def test_a_file_cannot_give_what_its_reader_gives(model, option):
    describe(model, "options", json.dumps({**LM, option: "CPU"}))
    refused(et.load, model, f"{option} is no option of a file")


OPTIONS = (
    *("vocab_size", "context_length", "hidden_size", "num_layers", "num_heads", "num_kv_heads"),
    *("head_dim", "ffn_size", "norm_eps", "rope_base", "rope_factors", "tied_embeddings"),
    *("scorer_hidden", "dropout", "seed"),
)
MEANT = [
    *(("head_dim", 0), ("ffn_size", 0), ("dropout", 0), ("seed", 0), ("rope_factors", None)),
    *(("tied_embeddings", True), ("rope_base", 1.5)),
]


@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.first(3)
def test_an_option_of_a_wrong_type_or_size_is_refused(model, option):
    options = described(model, "options")
    for value in NOTHING:
        if (option, value) not in MEANT:
            describe(model, "options", json.dumps({**options, option: value}))
            refused(et.load, model)


@pytest.mark.parametrize(
    ("option", "value"),
    [("norm_eps", 1e-320), ("norm_eps", 1), ("norm_eps", float("inf")), ("rope_base", 1e-45)]
    + [("rope_base", 1e13), ("rope_factors", [1e-30] * 2), ("rope_factors", [1e5, 1])]
    + [("dropout", 1), ("dropout", float("nan"))]
    + [(name, HUGE) for name in ("vocab_size", "hidden_size", "num_layers", "num_heads", "seed")]
    + [(name, HUGE) for name in ("head_dim", "ffn_size", "context_length", "scorer_hidden")],
)
def test_a_value_that_nobody_means_is_refused_by_build_and_by_load(model, option, value):
    with pytest.raises(ValueError, match=option):
        et.build("causal_lm", **{**LM, option: value})
    options = described(model, "options")
    describe(model, "options", json.dumps({**options, option: value}))
    refused(et.load, model, option)


@pytest.mark.parametrize("option", ["embed_dim", "hidden_size", "scorer_hidden", "seq_len"])
def test_a_size_that_nobody_means_is_refused_in_the_original_s_model_too(option):
    with pytest.raises(ValueError, match=f"{option}=1.* is too many; give at most"):
        et.build("test_time_compute", **{"embed_dim": 4, option: HUGE})


@pytest.mark.parametrize("tied", [None, 1, 0, "yes", "false", []], ids=repr)
def test_what_is_neither_true_nor_false_ties_no_embedding(tied):
    with pytest.raises(ValueError, match=r"tied_embeddings=.* must be True or False"):
        et.build("causal_lm", **LM, tied_embeddings=tied)


def test_a_model_that_does_not_fit_in_memory_is_not_begun(monkeypatch):
    from edifice_tt.architectures import room

    monkeypatch.setattr(room, "available_bytes", lambda device: 10_000)
    large = {"hidden_size": 64}
    for name, sizes in (("causal_lm", LM | large), ("test_time_compute", {"embed_dim": 9} | large)):
        with pytest.raises(
            EdificeError, match=rf"a {name} of \d+ numbers needs .* of 0\.01 MB free"
        ):
            et.build(name, **sizes)


@pytest.mark.parametrize("name", ["causal_lm", "test_time_compute"])
def test_the_numbers_of_a_model_are_counted_before_it_is_built(name):
    sizes = LM if name == "causal_lm" else {"embed_dim": 5, "hidden_size": 8, "num_layers": 3}
    for more in ({}, {"tied_embeddings": False}) if name == "causal_lm" else ({},):
        model = et.build(name, **sizes, **more)
        weights = {id(w): w for w in _weights(model)}.values()
        assert model.config.num_weights == sum(w.numel() for w in weights)


def _weights(model):
    from tinygrad.nn.state import get_state_dict

    named = get_state_dict(model).items()
    # The bias of the projection is the head's neighbour: only the backbone's are counted.
    return [w for n, w in named if not n.startswith("scorer") and n != "input_projection.bias"]


@pytest.mark.parametrize(
    "sizes",
    [
        {"vocab_size": 1 << 24, "hidden_size": 1 << 9},
        {"num_layers": 9_999},
        {"hidden_size": 1 << 15},
        {"ffn_size": 1 << 24},
        {"scorer": "mlp", "scorer_hidden": 1 << 20, "hidden_size": 64},
        {"scorer": "linear", "num_heads": 1 << 15, "head_dim": 1 << 10},
    ],
    ids=str,
)
def test_a_small_file_takes_little_memory_whatever_it_asks_for(tmp_path, sizes):
    """Asked of a file of some hundred bytes: up to 27 GB, had it been built."""
    path = tmp_path / "m.safetensors"
    metadata = {"format": "edifice_tt", "format_version": "1", "architecture": "causal_lm"}
    write_safetensors(path, {}, {**metadata, "options": json.dumps({**LM, **sizes})})
    assert path.stat().st_size < 400
    tracemalloc.start()
    try:
        refused(et.load, path, r"far larger than its 0 tensors with 0 numbers")
        assert tracemalloc.get_traced_memory()[1] < 50e6
    finally:
        tracemalloc.stop()


# Verifiers

HEAD = {"scorer_hidden": 5, "dropout": 0.5, "seed": 4}


@pytest.fixture
def verifier(tmp_path):
    mean, scale = np.zeros(8, np.float32), np.ones(8, np.float32)
    head = new_head("mlp", 8, HEAD)
    et.Verifier("judge", "mlp", HEAD, 1, 8, "f", head, mean, scale).save(tmp_path / "v")
    return tmp_path / "v"


@pytest.mark.parametrize(
    ("field", "fine"),
    [
        ("name", ["x"]),
        ("scorer", ["x"]),  # an unknown name, which is another error
        ("layer", []),
        ("hidden_size", []),
        ("fingerprint", ["", "x"]),
        ("slope", [1.5, -1, 0, 1e308, HUGE]),
        ("offset", [1.5, -1, 0, 1e308, HUGE]),
        ("options", []),
        ("figures", [{}]),
        ("trained_on", [[]]),
        ("tokenizer", ["", "x"]),
    ],
)
@pytest.mark.first(3)
def test_a_field_of_a_verifier_of_another_kind_is_refused(verifier, field, fine):
    said = described(verifier, "verifier")
    for value in NOTHING:
        if not any(type(value) is type(one) and value == one for one in fine):
            describe(verifier, "verifier", json.dumps({**said, field: value}))
            refused(et.load_verifier, verifier, "its description is damaged")


@pytest.mark.parametrize("option", list(HEAD))
def test_an_option_of_a_verifier_s_head_is_checked(verifier, option):
    said = described(verifier, "verifier")
    fine = {"dropout": (0,), "seed": (0,)}.get(option, ())
    for value in NOTHING:
        if value is True or value not in fine:
            options = {**HEAD, option: value}
            describe(verifier, "verifier", json.dumps({**said, "options": options}))
            refused(et.load_verifier, verifier, rf"its description is damaged \({option}=")
    left = {name: value for name, value in HEAD.items() if name != option}
    describe(verifier, "verifier", json.dumps({**said, "options": left}))
    refused(et.load_verifier, verifier, f"the option {option} is missing")


@pytest.mark.parametrize("said", ["5", "[]", "null", "", "{", "[" * 9999, "{}"])
def test_a_verifier_without_a_description_is_refused(verifier, said):
    describe(verifier, "verifier", said)
    refused(et.load_verifier, verifier, "its description is damaged")


@pytest.mark.parametrize(
    "size", [{"hidden_size": 1 << 20}, {"options": {"scorer_hidden": 1 << 20}}]
)
def test_a_verifier_far_larger_than_its_file_is_not_built(verifier, size):
    said = described(verifier, "verifier")
    size = {"options": {**HEAD, **size["options"]}} if "options" in size else size
    describe(verifier, "verifier", json.dumps(said | {"hidden_size": 1 << 16} | size))
    refused(et.load_verifier, verifier, "far larger than its 6 tensors")


# Features

SOURCE = Source("f", "t", 1, "last", 3)


@pytest.fixture
def features(tmp_path):
    states = {key: np.full((1, 3), i, np.float16) for i, key in enumerate("ab")}
    save_features(Features(SOURCE, states), tmp_path / "f", "CPU")
    return tmp_path / "f"


def read_features(path):
    return load_features(path, SOURCE)


@pytest.mark.parametrize("field", ["keys", "layer", "positions", "hidden_size", "fingerprint"])
def test_a_field_of_features_of_another_kind_is_refused(features, field):
    said = described(features, "features")
    for value in [*NOTHING, ["a"], ["a", "a"], ["a", 1]]:
        describe(features, "features", json.dumps({**said, field: value}))
        refused(read_features, features)


@pytest.mark.parametrize(
    "lengths", [[2, 0], [3, -1], [1, 2], [1], [], [[1, 1]], [1.0, 1.0]], ids=str
)
@pytest.mark.first(3)
def test_lengths_that_do_not_fit_are_refused(features, lengths):
    file = open_safetensors(features)
    kind = (
        "float32"
        if isinstance(
            sum(lengths, start=[] if [] in lengths else 0) if lengths != [[1, 1]] else 0, float
        )
        else "int32"
    )
    tensors = {"states": file.read("states", "CPU"), "lengths": Tensor(lengths, dtype=kind)}
    write_safetensors(features, tensors, file.metadata)
    refused(read_features, features, "damaged features")


def test_states_of_another_kind_are_refused(features):
    file = open_safetensors(features)
    lengths = file.read("lengths", "CPU")
    for states in (Tensor.ones(2, 3), Tensor.ones(6).half(), Tensor.ones(3, 2).half()):
        tensors = {"states": states.contiguous().realize(), "lengths": lengths}
        write_safetensors(features, tensors, file.metadata)
        refused(read_features, features, "damaged features")
    write_safetensors(features, {"lengths": lengths}, file.metadata)
    refused(read_features, features, "damaged features")


# The checkpoint of a training run


@pytest.fixture
def run(tmp_path):
    arrays = {"w": np.ones(2, np.float32)}
    history = (Epoch(1, 1, 0.5, 0.25, 0.75),)
    fold = Fold(history, 1, "patience", ((0.5, 1.5),))
    save_run(Run((fold,), Progress(history, 1, arrays, arrays)), tmp_path / "r", "key", "CPU")
    return tmp_path / "r"


def read_run(path):
    return load_run(path, "key", [[2]])


def test_a_run_comes_back_as_it_was(run):
    found = read_run(run)
    assert found.folds[0].logits == ((0.5, 1.5),)
    assert found.current.history == (Epoch(1, 1, 0.5, 0.25, 0.75),)
    assert found.current.best["w"].tolist() == [1, 1]


@pytest.mark.parametrize("field", ["key", "folds", "best_epoch", "history"])
def test_a_field_of_a_run_of_another_kind_is_refused(run, field):
    said = described(run, "run")
    for value in NOTHING:
        if not ((field == "key" and isinstance(value, str)) or (field == "folds" and value == [])):
            describe(run, "run", json.dumps({**said, field: value}))
            refused(read_run, run, "its description is damaged")


@pytest.mark.parametrize("field", ["history", "best_epoch", "stopped", "logits"])
def test_a_field_of_a_fold_of_another_kind_is_refused(run, field):
    said = described(run, "run")
    for value in [*NOTHING, [["x"]], [[HUGE]], [None]]:
        if field != "stopped" or not isinstance(value, str):
            fold = {**said["folds"][0], field: value}
            describe(run, "run", json.dumps({**said, "folds": [fold]}))
            refused(read_run, run)


@pytest.mark.parametrize("field", ["fold", "epoch", "loss", "held_out_loss", "held_out_auroc"])
def test_a_field_of_an_epoch_of_another_kind_is_refused(run, field):
    said = described(run, "run")
    for value in (True, "1", [1], {}, float("nan"), HUGE * 10**300):
        epoch = {**said["history"][0], field: value}
        describe(run, "run", json.dumps({**said, "history": [epoch]}))
        if not (field in ("fold", "epoch") and value == HUGE * 10**300):
            refused(read_run, run, f"{field}=.* must be")


def test_a_weight_that_belongs_to_no_part_is_refused(run):
    file = open_safetensors(run)
    write_safetensors(run, {"other.w": Tensor.ones(2).contiguous().realize()}, file.metadata)
    refused(read_run, run, "its description is damaged")


def test_folds_of_another_training_are_refused(run):
    for held_out in ([], [[3]], [[2, 2]]):
        with pytest.raises(CheckpointError, match="its folds are not those of this training"):
            load_run(run, "key", held_out)


# JSON


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (b'{"a": 1, "b": {"a": 1, "a": 2}}', "the key 'a' is there twice"),
        ("[" * 200_000, "nested deeper than 64 levels"),
        ("[" * 65 + "]" * 65, "nested deeper than 64 levels"),
        ('{"a": "\\udc00"}', "a lone surrogate"),
        (b"\xff", "not UTF-8 text, at byte 0"),
        ("{} {}", "not JSON, extra data at line 1 column 4"),
    ],
)
def test_json_is_read_without_a_guess(given, message):
    with pytest.raises(ValueError, match=message):
        parse(given)


def test_json_of_64_levels_and_pairs_of_surrogates_are_read():
    assert len(str(parse("[" * 64 + "]" * 64))) == 128
    assert parse_record('{"a": "\\ud83d\\ude00"}') == {"a": "😀"}
    with pytest.raises(ValueError, match=r"no JSON object but \[\]"):
        parse_record("[]")


@pytest.mark.parametrize("value", [HUGE * 10**300, float("inf"), True, "1", None])
def test_a_number_that_no_float_holds_is_none(value):
    assert take({"a": HUGE}, "a", float) == 1e40
    with pytest.raises(ValueError, match=r"a=.* must be a finite number"):
        take({"a": value}, "a", float)
