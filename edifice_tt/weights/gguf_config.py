"""The header of a GGUF file of a known family -> the options of `causal_lm`.

Each key by its type, and in the range that its option can have. Reads no weight but the factors of
the rotation.
"""

from typing import Any

import numpy as np

from edifice_tt.architectures.causal_lm import CausalLMConfig
from edifice_tt.contract.options import check_range, check_size
from edifice_tt.weights.families import find_family
from edifice_tt.weights.families.family import Family
from edifice_tt.weights.gguf_header import GGUFHeader
from edifice_tt.weights.options import check_file

ROPE_FACTORS = "rope_freqs.weight"
# A key of the file behind the family's name -> our option, whose values it can have.
_OPTIONS = {
    "context_length": "context_length",
    "embedding_length": "hidden_size",
    "block_count": "num_layers",
    "attention.head_count": "num_heads",
    "attention.head_count_kv": "num_kv_heads",
    "attention.key_length": "head_dim",
    "rope.dimension_count": "head_dim",
    "feed_forward_length": "ffn_size",
    "attention.layer_norm_rms_epsilon": "norm_eps",
    "rope.freq_base": "rope_base",
}


def read_config(header: GGUFHeader) -> tuple[Family, CausalLMConfig]:
    """The family of a file, and the options that it asks for; raises `ValueError`."""

    architecture = header.metadata.get("general.architecture")
    for key, value in header.metadata.items():
        if _is_needed(key, architecture) and _holds_bytes(value):
            raise ValueError(f"the text of {key!r:.60} is not UTF-8; download it again")
    family = find_family("architecture", architecture)

    def read(key: str, kind: type[int] | type[float], default: Any = None) -> Any:
        name, option = f"{family.name}.{key}", _OPTIONS[key]
        if (value := header.metadata.get(name, default)) is None:
            raise ValueError(f"the key {name!r} is missing; convert the model again")
        if type(value) is not kind or not value > 0:
            raise ValueError(f"{name}={value!r:.60}, expected a positive {kind.__name__}")
        if kind is float:
            check_range(option, value, name)
        else:
            check_size(option, value, name)
        return value

    if experts := header.metadata.get(f"{family.name}.expert_count"):
        raise ValueError(
            f"{family.name}.expert_count={experts!r:.60}: a mixture of experts is not supported; "
            "use a dense model"
        )
    if "token_embd.weight" not in header.entries:
        raise ValueError("tensor 'token_embd.weight' is missing; convert the model again")
    hidden_size, num_heads = read("embedding_length", int), read("attention.head_count", int)
    head_dim = read("attention.key_length", int, max(1, hidden_size // num_heads))
    if (rotated := read("rope.dimension_count", int, head_dim)) != head_dim:
        raise ValueError(
            f"{family.name}.rope.dimension_count={rotated}, expected the head's {head_dim}"
        )
    context_length = read("context_length", int)
    check_file(header.metadata, family.name, head_dim, context_length)
    if (num_layers := read("block_count", int)) > len(header.entries):
        raise ValueError(
            f"{family.name}.block_count={num_layers} for {len(header.entries)} tensors"
        )
    config = CausalLMConfig(
        vocab_size=header.entries["token_embd.weight"].shape[0],
        context_length=context_length,
        hidden_size=hidden_size,
        num_layers=num_layers,
        num_heads=num_heads,
        num_kv_heads=read("attention.head_count_kv", int, num_heads),
        head_dim=head_dim,
        ffn_size=read("feed_forward_length", int),
        norm_eps=read("attention.layer_norm_rms_epsilon", float),
        rope_base=read("rope.freq_base", float, 10000.0),
        rope_factors=_rope_factors(header, family.name, head_dim),
        tied_embeddings="output.weight" not in header.entries,
        biases=family.biases_in(header.entries),
    )
    return family, config


def _rope_factors(header: GGUFHeader, family: str, head_dim: int) -> tuple[float, ...] | None:
    # Without a type, a factor means linear, and 0 means none, as in llama.cpp.
    kind = header.metadata.get(f"{family}.rope.scaling.type", "linear")
    if kind not in ("none", "linear"):
        raise ValueError(
            f"{family}.rope.scaling.type={kind!r:.60} is not supported; supported: linear"
        )
    old = header.metadata.get(f"{family}.rope.scale_linear", 0.0)  # its name in older files
    scale = header.metadata.get(f"{family}.rope.scaling.factor", old) if kind == "linear" else 0.0
    if type(scale) is not float:
        raise ValueError(f"{family}.rope.scaling.factor={scale!r:.60}, expected a float")
    if scale:
        check_range("rope_factors", scale, f"{family}.rope.scaling.factor")
    factors = np.full(head_dim // 2, scale or 1.0)
    if (entry := header.entries.get(ROPE_FACTORS)) is not None:
        if entry.ggml_type != 0 or entry.shape != factors.shape:
            raise ValueError(f"tensor {ROPE_FACTORS!r} is {entry}, expected F32 {factors.shape}")
        factors *= header.data[entry.start : entry.stop].view("<f4")
    for factor in factors.tolist():
        check_range("rope_factors", factor, "a rotary scaling factor")
    return None if (factors == 1).all() else tuple(factors.tolist())


def _is_needed(key: str, architecture: Any) -> bool:
    named = key in ("general.architecture", "tokenizer.chat_template")
    return named or key.startswith((f"{architecture}.", "tokenizer.ggml."))


def _holds_bytes(value: Any) -> bool:
    values = value if isinstance(value, list) else [value]
    return any(isinstance(one, bytes) for one in values)
