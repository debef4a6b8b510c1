"""A `config.json` of a known family -> the options of `causal_lm`. Reads no weight.

Each key by its type, and in the range that its option can have.
"""

from pathlib import Path
from typing import Any

from edifice_tt.architectures.causal_lm import CausalLMConfig
from edifice_tt.contract.errors import reading
from edifice_tt.contract.options import check_range, check_size
from edifice_tt.machine.json_text import parse_record
from edifice_tt.weights.families import find_family
from edifice_tt.weights.families.family import SCALARS, Family
from edifice_tt.weights.huggingface_rope import KINDS, read_rotations
from edifice_tt.weights.options import check_folder, check_positive

_ACTIVATIONS = {
    **dict.fromkeys(("silu", "swish"), "silu"),
    **dict.fromkeys(("gelu_pytorch_tanh", "gelu_new"), "gelu_tanh"),
}
# A key of `config.json` -> our option, whose sizes it can have.
_OPTIONS = {
    "vocab_size": "vocab_size",
    "hidden_size": "hidden_size",
    "num_hidden_layers": "num_layers",
    "num_attention_heads": "num_heads",
    "num_key_value_heads": "num_kv_heads",
    "head_dim": "head_dim",
    "intermediate_size": "ffn_size",
    "max_position_embeddings": "context_length",
}
# Keys by which a family says which layers differ, and the smallest number of each.
_NUMBERS_OF_LAYERS = {
    "max_window_layers": 0,
    "sliding_window_pattern": 1,
    "no_rope_layer_interval": 1,
    "decoder_sparse_step": 1,
    "full_attention_interval": 1,
}


def read_config(path: Path) -> tuple[Family, CausalLMConfig]:
    """The family and options that a `config.json` asks for.

    Raises `CheckpointError` for a damaged one.
    """
    with reading(path):
        return options_of(parse_record(path.read_bytes()))


def options_of(config: dict[str, Any]) -> tuple[Family, CausalLMConfig]:
    """The same, of what was read; raises `ValueError`."""
    family = find_family("model_type", config.get("model_type"))
    if config["model_type"] == family.wrapped_in:
        config = _of_text(family, config)
    if family.experts:
        config = _with_one_number_of_experts(config)
    base = family.defaults.get("rope_theta", 10000.0)  # where no record of a rotation says it
    config = {key: one for key, one in family.defaults.items() if key != "rope_theta"} | config

    def read(key: str, kind: type[int] | type[float], default: Any = None) -> Any:
        if (value := config.get(key)) is None:
            value = default
        value = check_positive(key, value, kind)
        if kind is int:
            check_size(_OPTIONS[key], value, key)
        return value

    required = ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads")
    if missing := [key for key in (*required, "intermediate_size") if key not in config]:
        raise ValueError(f"{' and '.join(missing)} missing; download it again")
    hidden_size, heads = read("hidden_size", int), read("num_attention_heads", int)
    head_dim = read("head_dim", int, max(1, hidden_size // heads))
    layers, context = read("num_hidden_layers", int), read("max_position_embeddings", int, 2048)
    check_folder(config, family, head_dim, context)
    _check_numbers_of_layers(family, config)
    tied, *biased = (
        _truth(key, config.get(key)) for key in ("tie_word_embeddings", *family.bias_options)
    )
    optional = zip(family.bias_options.values(), biased, strict=True)
    eps = read("rms_norm_eps", float, 1e-6)
    check_range("norm_eps", eps, "rms_norm_eps")
    options = {
        "vocab_size": read("vocab_size", int),
        "context_length": context,
        "hidden_size": hidden_size,
        "num_layers": layers,
        "num_heads": heads,
        "num_kv_heads": read("num_key_value_heads", int, heads),
        "head_dim": head_dim,
        "ffn_size": read("intermediate_size", int),
        "norm_eps": eps,
        "tied_embeddings": tied,
        "biases": (*family.biases, *(part for parts, on in optional if on for part in parts)),
        "unrotated_layers": _unrotated(family, config, layers),
        "windows": _windows(family, config, layers),
        **family.options,
        **_experts(family, config, layers),
        **_recurrence(family, config, layers),
        "activation": _activation(family, config),
        **read_rotations(family, config, head_dim, base),
    }
    scalars = {
        SCALARS[key].option: SCALARS[key].convert(check_positive(key, config[key], float))
        for key in family.scalars
        if config.get(key) is not None
    }
    return family, CausalLMConfig(**{**options, **family.derived(options), **scalars})


def _with_one_number_of_experts(config: dict[str, Any]) -> dict[str, Any]:
    """It has two names, of which a folder may have either."""
    given = {
        name: config[name]
        for name in ("num_experts", "num_local_experts")
        if config.get(name) is not None
    }
    if len({*map(str, given.values())}) > 1:
        raise ValueError(
            f"num_experts={given['num_experts']!r:.60} and num_local_experts="
            f"{given['num_local_experts']!r:.60} differ; remove the one that is wrong"
        )
    return config | ({"num_experts": next(iter(given.values()))} if given else {})


def _experts(family: Family, config: dict[str, Any], layers: int) -> dict[str, Any]:
    if family.experts is None:
        return {}
    if "moe_intermediate_size" in family.defaults:
        check_positive("moe_intermediate_size", config["moe_intermediate_size"], int)
    normed = _truth("norm_topk_prob", config["norm_topk_prob"])
    return dict(family.experts({**config, "norm_topk_prob": normed}, layers))


def _of_text(family: Family, config: dict[str, Any]) -> dict[str, Any]:
    """The config of the text, and what is said beside it of the whole."""
    text = config.get("text_config")
    if not isinstance(text, dict) or text.get("model_type") not in (None, family.model_type):
        raise ValueError(
            f"text_config={text!r:.60}, expected a record of model_type {family.model_type!r}"
        )
    of_all = ("tie_word_embeddings", "quantization_config")
    text = {key: value for key, value in text.items() if key != of_all[0]}  # which is moot there
    return text | {key: config[key] for key in of_all if key in config}


def _recurrence(family: Family, config: dict[str, Any], layers: int) -> dict[str, Any]:
    if family.recurrence is None:
        return {}
    for key in family.defaults:
        if key.startswith("linear_"):
            check_positive(key, config[key], int)
    _check_kinds(config.get("layer_types"), ("linear_attention", "full_attention"), layers)
    return dict(family.recurrence(config, layers))


def _check_kinds(kinds: Any, known: tuple[str, ...], layers: int) -> None:
    """Raise `ValueError` unless each layer, if they are listed, is of a known kind."""
    listed = isinstance(kinds, list) and len(kinds) == layers and {*map(str, kinds)} <= {*known}
    if kinds is not None and not listed:
        raise ValueError(
            f"layer_types={kinds!r:.60} is not supported; supported: one of {', '.join(known)} for "
            f"each of {layers} layers"
        )


def _activation(family: Family, config: dict[str, Any]) -> str:
    key = "hidden_activation" if "hidden_activation" in family.defaults else "hidden_act"
    name = config.get(key)
    if name is None:
        name = family.defaults.get(key, "silu")
    if not isinstance(name, str) or name not in _ACTIVATIONS:
        raise ValueError(
            f"{key}={name!r:.60} is not supported; supported: {', '.join(_ACTIVATIONS)}"
        )
    return _ACTIVATIONS[name]


def _windows(family: Family, config: dict[str, Any], layers: int) -> tuple[int, ...]:
    """The window of each layer; none where the config or the family has none."""
    size, kinds = config.get("sliding_window"), config.get("layer_types")
    if family.windowed is None:
        return ()
    # Where a family has the switch, null turns it off, as transformers reads it.
    switch = "use_sliding_window"
    if size is None or (switch in family.defaults and not _truth(switch, config[switch])):
        if isinstance(kinds, list) and "sliding_attention" in kinds:
            raise ValueError(
                "layer_types has 'sliding_attention', but no window is used; correct layer_types, "
                "or sliding_window and use_sliding_window"
            )
        return ()
    size = check_positive("sliding_window", size, int)
    _check_kinds(kinds, KINDS, layers)
    if kinds is None:
        has = [family.windowed(layer, config) for layer in range(layers)]
    else:
        has = [kind == "sliding_attention" for kind in kinds]
    return tuple(size if one else 0 for one in has) if any(has) else ()


def _unrotated(family: Family, config: dict[str, Any], layers: int) -> tuple[int, ...]:
    if family.unrotated is None:
        return ()
    given = config.get("no_rope_layers")  # 1 for each layer that is rotated, 0 for others
    bits = given if isinstance(given, list) else []
    if given is not None and (len(bits) != layers or any(one not in (0, 1) for one in bits)):
        raise ValueError(f"no_rope_layers={given!r:.60}, expected 0 or 1 for {layers} layers")
    return tuple(layer for layer in range(layers) if family.unrotated(layer, config))


def _check_numbers_of_layers(family: Family, config: dict[str, Any]) -> None:
    for key, smallest in _NUMBERS_OF_LAYERS.items():
        value = config.get(key)
        if key in family.defaults and (type(value) is not int or value < smallest):
            raise ValueError(f"{key}={value!r:.60}, expected a whole number from {smallest} on")


def _truth(key: str, value: Any) -> bool:
    if not isinstance(value, bool | None):
        raise ValueError(f"{key}={value!r:.60}, expected true or false")
    return bool(value)
