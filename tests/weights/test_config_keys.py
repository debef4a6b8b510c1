"""No key is passed over: what moves the numbers of transformers moves ours, or is refused.

`configs.json.xz` holds a config of each family in the spellings of transformers 5 and 4, and others
of windows and rotations. Beside each stand the values (`moves`) that were put in the place of one
of its keys and moved the logits of a small model in transformers.
"""

import copy
import json
import lzma
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from edifice_tt.weights.gguf_config import read_config
from edifice_tt.weights.gguf_header import Entry
from edifice_tt.weights.huggingface_config import options_of

PACKED = Path(__file__).parents[1] / "references" / "configs.json.xz"
FAMILIES = json.loads(lzma.decompress(PACKED.read_bytes()))["families"]
CONFIGS = [(name, kind) for name, one in FAMILIES.items() for kind in one["configs"]]

# What may stand in a config without a word from us.
OF_TRAINING = {
    *("attention_dropout", "embd_pdrop", "resid_pdrop", "initializer_range"),
    *("router_aux_loss_coef", "output_router_logits"),
}
OF_TOKENS = {"bos_token_id", "eos_token_id", "pad_token_id"}  # the tokenizer's
OF_RUNNING = {"use_cache", "dtype", "torch_dtype", "_attn_implementation", "pretraining_tp"}
OF_WRITING = {"architectures", "transformers_version", "_sliding_window_pattern"}
PASSED_OVER = OF_TRAINING | OF_TOKENS | OF_RUNNING | OF_WRITING
# Of a GGUF file: the embedding's shape says the first; in these the next two stretch nothing. Of a
# text all positions are equal, whichever sections of a head turn by them; and a list of layers is
# heard before an interval.
PASSED_OVER_IN_FILES = {
    *("vocab_size", "rope.scaling.finetuned", "rope.scaling.original_context_length"),
    *("rope.dimension_sections", "full_attention_interval"),
}


def changed(config, place, value):
    config = copy.deepcopy(config)
    record = config
    *records, key = place.split("/")
    for name in records:
        record = record[name]
    record[key] = value
    return config


def options(config):
    """What is computed, or the refusal."""
    try:
        return options_of(config)
    except ValueError as error:
        return str(error)


@pytest.mark.parametrize(("name", "kind"), CONFIGS)
@pytest.mark.first(3)
def test_a_value_that_moves_the_numbers_of_transformers_moves_ours_or_is_refused(name, kind):
    config = FAMILIES[name]["configs"][kind]
    before = options_of(config)
    tried = [(key, v) for key, vs in FAMILIES[name]["moves"][kind].items() for v in vs]
    assert len(tried) > 3
    assert [(key, v) for key, v in tried if options(changed(config, key, v)) == before] == []


@pytest.mark.parametrize("name", FAMILIES)
def test_every_key_of_a_family_was_tried_or_is_passed_over_by_name(name):
    """The fields of its class, those that its formulas read, and those of its files."""
    family = FAMILIES[name]
    keys = {*family["fields"], *family["read"], *family["configs"]["v5"], *family["configs"]["v4"]}
    moved = {key.split("/")[0] for moves in family["moves"].values() for key in moves}
    refused = {key for key in keys if isinstance(options({**family["sizes"], key: True}), str)}
    assert keys - moved - refused - PASSED_OVER - {"max_position_embeddings"} == set()
    assert not moved & PASSED_OVER


@pytest.mark.parametrize("name", FAMILIES)
def test_both_spellings_of_a_config_are_one_model(name):
    configs = FAMILIES[name]["configs"]
    assert options_of(configs["v5"]) == options_of(configs["v4"])


@pytest.mark.parametrize("name", FAMILIES)
def test_keys_that_are_absent_mean_what_they_mean_in_transformers(name):
    sizes, means = FAMILIES[name]["sizes"], FAMILIES[name]["means"]
    _, found = options_of(sizes)
    rope = means["rope_parameters"]
    head = means.get("head_dim") or sizes["hidden_size"] // sizes["num_attention_heads"]
    kinds, size = means.get("layer_types"), means.get("sliding_window")
    if kinds is None:
        kinds = ["sliding_attention" if size else ""] * found.num_layers
    has = [size if kind == "sliding_attention" else 0 for kind in kinds]
    rotated = means.get("no_rope_layers") or [1] * found.num_layers
    assert found.num_kv_heads == means["num_key_value_heads"]
    assert found.head_dim == head
    assert found.norm_eps == means["rms_norm_eps"]
    assert found.context_length == means["max_position_embeddings"]
    assert found.tied_embeddings == means["tie_word_embeddings"]
    assert found.rope_base == rope.get("full_attention", rope)["rope_theta"]
    assert found.window_rope_base == rope.get("sliding_attention", {}).get("rope_theta", 0)
    assert found.windows == (tuple(has) if any(has) else ())
    assert found.unrotated_layers == tuple(i for i, one in enumerate(rotated) if not one)
    assert found.attention_softcap == (means.get("attn_logit_softcapping") or 0)
    assert found.logits_softcap == (means.get("final_logit_softcapping") or 0)
    recurrent = [i for i, kind in enumerate(kinds) if kind == "linear_attention"]
    assert list(found.recurrent_layers) == recurrent
    size = means.get("query_pre_attn_scalar")
    assert found.attention_scale == (size**-0.5 if size else means.get("attention_multiplier", 0))


# --- GGUF files


def header(name, metadata):
    file = FAMILIES[name]["gguf"]
    data = np.array(file.get("rope_freqs", []), "<f4").view(np.uint8)
    entries = {
        tensor: Entry(0, tuple(shape), 0, len(data) if tensor == "rope_freqs.weight" else 0)
        for tensor, shape in file["shapes"].items()
    }
    return SimpleNamespace(
        metadata=metadata, entries=entries, mapped=lambda start, stop: data[start:stop]
    )


def file_options(name, metadata):
    try:
        return read_config(header(name, metadata))
    except ValueError as error:
        return str(error)


def others(value):
    """Other values of its type."""
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, list):
        return [[*others(value[0]), *value[1:]]]
    if isinstance(value, int):
        return [value + 1, 2 * value + 2]
    return [1.5 * value + 0.25] if isinstance(value, float) else [f"{value}2"]


@pytest.mark.parametrize("name", FAMILIES)
def test_each_key_of_a_gguf_file_changes_the_options_or_is_refused(name):
    metadata = FAMILIES[name]["gguf"]["metadata"]
    before = read_config(header(name, metadata))
    passed_over = {
        key.partition(".")[2]
        for key, value in metadata.items()
        for other in others(value)
        if file_options(name, {**metadata, key: other}) == before
    }
    assert passed_over <= PASSED_OVER_IN_FILES


@pytest.mark.parametrize("name", FAMILIES)
def test_a_gguf_file_and_a_folder_say_the_same_model(name):
    _, file = read_config(header(name, FAMILIES[name]["gguf"]["metadata"]))
    _, folder = options_of(FAMILIES[name]["configs"]["v5"])
    numbers = ("norm_eps", "residual_scale", "embedding_scale", "attention_scale", "logits_scale")
    for option in numbers:
        assert getattr(file, option) == pytest.approx(getattr(folder, option), rel=1e-6), option
    assert (file.rope_factors or ()) == pytest.approx(folder.rope_factors or (), rel=1e-6)
    same = {option: getattr(folder, option) for option in (*numbers, "rope_factors", "delta_tiled")}
    assert replace(file, **same) == folder


# --- what these tests found

WINDOW = {"sliding_window": 16, "max_position_embeddings": 512}
MIXED = ["sliding_attention"] + ["full_attention"] * 5
REFUSED = [
    ("qwen3", {"use_sliding_window": True, "max_window_layers": None}, "max_window_layers=None"),
    ("qwen2-tied", {"max_window_layers": -1}, "max_window_layers=-1, expected a whole number from"),
    ("gemma3", {"sliding_window_pattern": 0}, "sliding_window_pattern=0, expected a whole number"),
    ("smollm3", {"no_rope_layer_interval": "4"}, "no_rope_layer_interval='4', expected a whole"),
    ("smollm3", {"no_rope_layers": ["0"] * 6}, "no_rope_layers=.*expected 0 or 1 for 6 layers"),
    ("smollm3", {"no_rope_layers": [1]}, "no_rope_layers=.*expected 0 or 1 for 6 layers"),
    ("qwen2-tied", {"layer_types": MIXED}, "layer_types has 'sliding_attention', but no window"),
    ("gemma2", {"layer_types": MIXED, "sliding_window": None}, "but no window is used"),
    ("mistral", {**WINDOW, "layer_types": MIXED}, "supported: sliding_attention for every layer"),
    ("phi3", {**WINDOW, "layer_types": MIXED}, "supported: sliding_attention for every layer"),
    ("mistral", {**WINDOW, "use_sliding_window": False}, "use_sliding_window=False is not support"),
    ("qwen3", {**WINDOW, "use_sliding_window": "no"}, "use_sliding_window='no', expected true or"),
    ("gemma3", {"attn_logit_softcapping": 50.0}, "attn_logit_softcapping=50.0 is not supported"),
    ("gemma2", {"hidden_activation": "relu"}, "hidden_activation='relu' is not supported"),
    ("qwen3moe", {"decoder_sparse_step": 0}, "decoder_sparse_step=0, expected a whole number from"),
    (
        "qwen3moe",
        {"decoder_sparse_step": None},
        "decoder_sparse_step=None, expected a whole number",
    ),
    ("qwen3moe", {"mlp_only_layers": 3}, "mlp_only_layers=3, expected a list of numbers of layers"),
    ("qwen3moe", {"mlp_only_layers": ["0"]}, "mlp_only_layers=.*expected a list of numbers"),
    ("qwen3moe", {"moe_intermediate_size": 0}, "moe_intermediate_size=0, expected a positive int"),
    (
        "qwen35",
        {"full_attention_interval": 0},
        "full_attention_interval=0, expected a whole number",
    ),
    ("qwen35", {"layer_types": MIXED}, "supported: one of linear_attention, full_attention for"),
    ("qwen35", {"linear_num_value_heads": 24}, "delta_value_heads=24 must be a multiple of"),
    (
        "qwen35",
        {"linear_key_head_dim": "128"},
        "linear_key_head_dim='128', expected a positive int",
    ),
    ("qwen35", {"linear_conv_kernel_dim": 17}, "delta_conv=17 is too many; give at most 16"),
    ("qwen35", {"num_experts": 8}, "num_experts=8 is not supported"),
    ("olmoe", {"norm_topk_prob": "no"}, "norm_topk_prob='no', expected true or false"),
    ("olmoe", {"num_experts": 4, "num_local_experts": 6}, "num_experts=4 and num_local_experts=6"),
]


@pytest.mark.parametrize("name", ["qwen3moe", "olmoe"])
def test_the_number_of_experts_has_two_names(name):
    sizes = {key: one for key, one in FAMILIES[name]["sizes"].items() if key != "num_experts"}
    for given in ({"num_experts": 5}, {"num_local_experts": 5}):
        assert options_of({**sizes, "num_experts_per_tok": 3, **given})[1].experts == 5


@pytest.mark.parametrize(("name", "given", "message"), REFUSED, ids=str)
def test_a_config_that_contradicts_itself_or_its_family_is_refused(name, given, message):
    with pytest.raises(ValueError, match=message):
        options_of({**FAMILIES[name]["sizes"], **given})


def test_a_family_s_activation_gives_way_to_the_config_s():
    _, found = options_of({**FAMILIES["gemma2"]["sizes"], "hidden_activation": "silu"})
    assert found.activation == "silu"


def test_smollm3_has_its_windows_in_the_layers_that_are_not_rotated():
    given = {**WINDOW, "use_sliding_window": True, "no_rope_layers": [0, 1, 1, 1, 0, 1]}
    _, found = options_of({**FAMILIES["smollm3"]["sizes"], **given})
    assert found.windows == (16, 0, 0, 0, 16, 0)
    assert found.unrotated_layers == (0, 4)


ANYTHING = [None, True, 0, -1, 7, 1.5, 10**400, "", "7", [], [None], [[]], {}, {"rope_type": []}]


def places_in(config, place):
    """The place, where the config has its record."""
    *records, _ = place.split("/")
    for record in records:
        config = config.get(record)
        if not isinstance(config, dict):
            return []
    return [place]


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.first(3)
def test_whatever_stands_in_a_key_is_read_or_refused(name):
    """Never another error than a `ValueError`, to which whoever reads the file adds its name."""
    family = FAMILIES[name]
    keys = {key for moves in family["moves"].values() for key in moves} | set(family["fields"])
    for config in family["configs"].values():
        for place in [one for key in sorted(keys) for one in places_in(config, key)]:
            for value in ANYTHING:
                options(changed(config, place, value))


@pytest.mark.parametrize("name", FAMILIES)
def test_whatever_stands_in_a_key_of_a_gguf_file_is_read_or_refused(name):
    metadata = FAMILIES[name]["gguf"]["metadata"]
    for key in metadata:
        for value in (2**64 - 1 if one == 10**400 else one for one in ANYTHING):
            file_options(name, {**metadata, key: value})


@pytest.mark.parametrize("length", [True, 0, -1, "7", [7]])
def test_an_original_length_that_is_no_whole_number_is_refused(length):
    key = "phi3.rope.scaling.original_context_length"
    metadata = {**FAMILIES["phi3"]["gguf"]["metadata"], key: length}
    with pytest.raises(ValueError, match=f"{key}=.*, expected a positive int"):
        read_config(header("phi3", metadata))


def test_a_switch_of_the_window_that_is_null_is_off():
    given = {**WINDOW, "max_window_layers": 0, "layer_types": None}
    config = {**FAMILIES["qwen2-tied"]["configs"]["v5"], **given}
    assert set(options_of({**config, "use_sliding_window": True})[1].windows) == {16}
    assert options_of({**config, "use_sliding_window": None})[1].windows == ()
