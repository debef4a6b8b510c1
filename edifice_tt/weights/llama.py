"""GGUF files of the `llama` architecture -> `causal_lm`.

Which of the file's names and layouts are which weights of ours; each quirk is a named transform.
"""

import os
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tinygrad import Tensor, dtypes
from tinygrad.nn.state import get_state_dict

from edifice_tt.architectures.causal_lm import CausalLM, CausalLMConfig
from edifice_tt.errors import CheckpointError
from edifice_tt.nn.cpu import compiles_c
from edifice_tt.nn.fingerprint import Stored, identify
from edifice_tt.nn.init import copied, place, wrap
from edifice_tt.nn.int8 import GROUP_BYTES, Int8Linear, group_rows
from edifice_tt.nn.precision import choose_dtype, store
from edifice_tt.nn.quantized import BLOCK, KINDS, QuantizedLinear, layer_at
from edifice_tt.toolchain import open_device
from edifice_tt.weights.footprint import check_weights
from edifice_tt.weights.gguf import GGUFHeader, read_tensors
from edifice_tt.weights.options import check_file
from edifice_tt.weights.safetensors import check_fit, differences, foreign
from edifice_tt.weights.tokenizer import Tokenizer

# fmt: off
# Our name of a layer -> the file's; from the second line on, they stand in every block.
_LAYERS = {
    "token_embedding": "token_embd", "backbone.final_norm": "output_norm", "lm_head": "output",
    "attn_norm": "attn_norm", "attn.q_proj": "attn_q", "attn.k_proj": "attn_k",
    "attn.v_proj": "attn_v", "attn.o_proj": "attn_output",
    "ffn_norm": "ffn_norm", "ffn.gate_proj": "ffn_gate", "ffn.up_proj": "ffn_up",
    "ffn.down_proj": "ffn_down",
}
# fmt: on
_ROPE_FACTORS = "rope_freqs.weight"
_F32 = 0  # of the types of GGUF files
_KINDS = {kind.ggml_type: name for name, kind in KINDS.items()}


def interleaved_to_half_split(weight: Tensor, num_heads: int) -> Tensor:
    """Reorder each head's rows (H*E, D) from rotary pairs (2i, 2i+1) to pairs (i, i + E/2)."""
    rows, width = weight.shape
    return weight.reshape(num_heads, -1, 2, width).transpose(1, 2).reshape(rows, width).contiguous()


def _name_in_file(name: str) -> str:
    layer = name.removesuffix(".weight")
    if layer in _LAYERS:
        return f"{_LAYERS[layer]}.weight"
    _, _, index, part = layer.split(".", 3)
    return f"blk.{index}.{_LAYERS[part]}.weight"


def load_gguf(
    path: str | os.PathLike[str],
    device: str | None = None,
    dtype: str | None = None,
    activations: str = "float32",
) -> CausalLM:
    """Build the language model that a file holds, with its tokenizer.

    `dtype` and `activations` as in `load_pretrained`. Names and shapes are compared before a weight
    moves. Raises `CheckpointError` as `read_gguf` does, for another architecture than `llama`, and
    with all differences in the weights at once; `ValueError` where activations cannot be rounded.
    """
    header = GGUFHeader(path)
    try:
        config = _read_config(header)
        model, tokenizer = CausalLM(config), Tokenizer.from_gguf(header.metadata)
        if tokenizer.vocab_size > config.vocab_size:
            raise ValueError(f"{tokenizer.vocab_size} tokens for {config.vocab_size} embeddings")
    except (ValueError, CheckpointError) as error:
        raise header.error(str(error)) from error
    weights = get_state_dict(model)
    ours = {_name_in_file(name): name for name in weights}
    shapes = {
        ours.get(name, foreign(name, weights)): entry.shape
        for name, entry in header.entries.items()
    }
    shapes.pop(_ROPE_FACTORS, None)
    found = {name: (shape, dtypes.float32) for name, shape in shapes.items()}
    check_fit(header.path, differences(weights, found))
    opened = open_device(device)
    int8 = check_activations(activations) == "int8"
    if int8 and not compiles_c(opened):
        raise ValueError(
            f"activations='int8' needs tinygrad's CPU device with clang, given {opened}; use "
            "device='CPU', or leave it out"
        )
    if int8 and dtype is not None:
        raise ValueError(
            f"activations='int8' reads the file's own blocks, so dtype={dtype!r} has nothing to "
            "store; leave one of them out"
        )
    dtype = choose_dtype(dtype, opened)
    _check_room(header, opened, dtype)
    # On the CPU weights stay in their blocks, in the file, and are read from there when needed.
    arrays = _map_arrays(header, model, ours) if compiles_c(opened) else {}
    tensors = read_tensors(header, opened, left_out=arrays, dtype=dtype)
    for name, weight in weights.items():
        theirs, layer = _name_in_file(name), name.removesuffix(".weight")
        if (array := arrays.get(theirs)) is None:
            tensor = tensors[theirs]
            if num_heads := _interleaved(layer, config):
                # One at a time: the second of a shape finds its schedule in tinygrad's cache.
                tensor = interleaved_to_half_split(tensor, num_heads).realize()
            weight.replace(tensor)
        elif array.dtype == np.float32:
            weight.replace(wrap(array, opened))
        else:
            parent, _, attribute = layer.rpartition(".")
            entry = header.entries[theirs]
            kind = _KINDS[entry.ggml_type]
            quantized = QuantizedLinear(wrap(array, opened), kind)
            if int8 and kind in GROUP_BYTES:
                grouped = wrap(group_rows(array, kind), opened)
                quantized, model.activations = Int8Linear(grouped, kind, entry.shape[0]), "int8"
            setattr(layer_at(model, parent) if parent else model, attribute, quantized)
    if int8 and model.activations != "int8":
        raise header.error(
            f"activations='int8' is for weights in blocks of type {', '.join(GROUP_BYTES)}, and "
            "this file has none; leave it out"
        )
    model.tokenizer = tokenizer
    model.dtype = dtype
    model = place(store(model, dtype), opened)
    identify(model, partial(_stored, header))
    return model


def _stored(header: GGUFHeader) -> Stored:
    """The file's weights as they lie in it."""
    for name, entry in sorted(header.entries.items()):
        yield [name, list(entry.shape), entry.ggml_type], header.data[entry.start : entry.stop]


def check_activations(activations: str) -> str:
    """The same; raises `ValueError` for what nobody can round to."""
    if activations not in ("float32", "int8"):
        raise ValueError(f"activations={activations!r} must be 'float32' or 'int8'")
    return activations


def _interleaved(layer: str, config: CausalLMConfig) -> int:
    """The number of heads whose rows stand as rotary pairs; 0 for other layers."""
    heads = {"q_proj": config.num_heads, "k_proj": config.num_kv_heads}
    return heads.get(layer.split(".")[-1], 0)


def _check_room(header: GGUFHeader, device: str, dtype: str | None) -> None:
    shapes, as_they_are = [], 0
    for entry in header.entries.values():
        kept = entry.ggml_type == _F32 or not entry.shape[-1] % BLOCK
        kept = kept and dtype is None and entry.ggml_type in (_F32, *_KINDS)
        if kept and compiles_c(device):
            as_they_are += entry.stop - entry.start
        else:
            shapes.append(entry.shape)
    if not compiles_c(device):  # where blocks are unpacked
        as_they_are = len(header.data)
    check_weights(header.path, shapes, device, dtype, beside=as_they_are)


def _map_arrays(
    header: GGUFHeader, model: CausalLM, ours: dict[str, str]
) -> dict[str, NDArray[Any]]:
    """The weights that need no conversion: float32 (a copy), or blocks (..., bytes of a row)."""
    arrays: dict[str, NDArray[Any]] = {}
    for name, entry in header.entries.items():
        raw = header.data[entry.start : entry.stop]
        kind = _KINDS.get(entry.ggml_type)
        if name in ours and entry.ggml_type == _F32:
            rows: NDArray[Any] = copied(raw.view(np.float32).reshape(entry.shape))
        elif name in ours and kind is not None and not entry.shape[-1] % BLOCK:
            rows = raw.reshape(entry.shape[0], -1)
        else:
            continue
        if not np.isfinite(rows if kind is None else _scales(raw, kind)).all():
            raise header.error(f"weight {name!r} holds NaN or infinity; the file is damaged")
        if num_heads := _interleaved(ours[name].removesuffix(".weight"), model.config):
            pairs = rows.reshape(num_heads, -1, 2, rows.shape[1])  # as interleaved_to_half_split
            rows = copied(pairs.swapaxes(1, 2).reshape(rows.shape))
        arrays[name] = rows
    return arrays


def _scales(raw: NDArray[np.uint8], kind: str) -> NDArray[Any]:
    """What can be NaN or infinite in the blocks of a weight."""
    if kind == "F16":
        return raw.view(np.float16)
    if kind == "BF16":
        return (raw.view(np.uint16).astype(np.uint32) << 16).view(np.float32)
    scales = raw.reshape(-1, KINDS[kind].block_bytes)[:, : 4 if kind == "Q4_1" else 2]
    return np.ascontiguousarray(scales).view(np.float16)


def _read_config(header: GGUFHeader) -> CausalLMConfig:
    def read(key: str, kind: type[int] | type[float], default: Any = None) -> Any:
        if (value := header.metadata.get(f"llama.{key}", default)) is None:
            raise ValueError(f"the key 'llama.{key}' is missing; convert the model again")
        if not isinstance(value, kind) or not value > 0:
            raise ValueError(f"llama.{key}={value!r}, expected a positive {kind.__name__}")
        return value

    if (architecture := header.metadata.get("general.architecture")) != "llama":
        raise ValueError(f"architecture {architecture!r} is not supported; supported: llama")
    if experts := header.metadata.get("llama.expert_count"):
        raise ValueError(
            f"llama.expert_count={experts}: a mixture of experts is not supported; use a dense "
            "model"
        )
    if "token_embd.weight" not in header.entries:
        raise ValueError("tensor 'token_embd.weight' is missing; convert the model again")
    hidden_size, num_heads = read("embedding_length", int), read("attention.head_count", int)
    head_dim = read("attention.key_length", int, hidden_size // num_heads)
    if (rotated := read("rope.dimension_count", int, head_dim)) != head_dim:
        raise ValueError(f"llama.rope.dimension_count={rotated}, expected the head's {head_dim}")
    context_length = read("context_length", int)
    check_file(header.metadata, head_dim, context_length)
    # Also keeps a damaged count from building a million layers.
    if (num_layers := read("block_count", int)) > len(header.entries):
        raise ValueError(f"llama.block_count={num_layers} for {len(header.entries)} tensors")
    return CausalLMConfig(
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
        rope_factors=_rope_factors(header, head_dim),
        tied_embeddings="output.weight" not in header.entries,
    )


def _rope_factors(header: GGUFHeader, head_dim: int) -> tuple[float, ...] | None:
    # Without a type, a factor means linear, and 0 means none, as in llama.cpp.
    kind = header.metadata.get("llama.rope.scaling.type", "linear")
    if kind not in ("none", "linear"):
        raise ValueError(f"llama.rope.scaling.type={kind!r} is not supported; supported: linear")
    old = header.metadata.get("llama.rope.scale_linear", 0.0)  # its name in older files
    scale = header.metadata.get("llama.rope.scaling.factor", old) if kind == "linear" else 0.0
    factors = np.full(head_dim // 2, scale or 1.0)
    if (entry := header.entries.get(_ROPE_FACTORS)) is not None:
        if entry.ggml_type != 0 or entry.shape != factors.shape:
            raise ValueError(f"tensor {_ROPE_FACTORS!r} is {entry}, expected F32 {factors.shape}")
        factors *= header.data[entry.start : entry.stop].view("<f4")
    if not (np.isfinite(factors) & (factors > 0)).all():
        raise ValueError("the rotary scaling factors must be positive; the file is damaged")
    return None if (factors == 1).all() else tuple(factors.tolist())
