"""GGUF files of the `llama` architecture -> `causal_lm`.

Which of the file's names and layouts are which weights of ours; each quirk is a named transform.
"""

import os
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tinygrad import dtypes
from tinygrad.nn.state import get_state_dict

from edifice_tt.architectures.causal_lm import CausalLM, CausalLMConfig
from edifice_tt.architectures.fingerprint import Stored, identify
from edifice_tt.contract.errors import CheckpointError
from edifice_tt.machine.exclusive import exclusive
from edifice_tt.machine.toolchain import open_device
from edifice_tt.nn.buffers import all_finite, copied, give_back, held_to, place, wrap
from edifice_tt.nn.cpu.bridge import compiles_c
from edifice_tt.nn.mapped import MappedFile
from edifice_tt.nn.stored.blocks import BLOCK, KINDS, QuantizedLinear, layer_at
from edifice_tt.nn.stored.halves import KIND_OF, choose_dtype, hold, store
from edifice_tt.nn.stored.int8 import GROUP_BYTES, ROWS, Int8Linear, group_rows
from edifice_tt.weights.footprint import check_weights, work_bytes
from edifice_tt.weights.gguf import read_arrays
from edifice_tt.weights.gguf_header import Entry, GGUFHeader
from edifice_tt.weights.llama_config import ROPE_FACTORS, read_config
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
_KINDS = {kind.ggml_type: name for name, kind in KINDS.items()}


def reorder_rows(weight: NDArray[Any], num_heads: int) -> None:
    """Reorder each head's rows, in place, from rotary pairs (2i, 2i+1) to pairs (i, i + E/2)."""
    for head in weight.reshape(num_heads, -1, weight.shape[1]):
        head[:] = np.concatenate([head[0::2], head[1::2]])


def _name_in_file(name: str) -> str:
    layer = name.removesuffix(".weight")
    if layer in _LAYERS:
        return f"{_LAYERS[layer]}.weight"
    _, _, index, part = layer.split(".", 3)
    return f"blk.{index}.{_LAYERS[part]}.weight"


@exclusive
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
        config = read_config(header)
        with held_to(entry.shape for entry in header.entries.values()):
            model = CausalLM(config)
        tokenizer = Tokenizer.from_gguf(header.metadata)
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
    shapes.pop(ROPE_FACTORS, None)
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
    kept = {
        name: _interleaved(ours[name].removesuffix(".weight"), config)
        for name, entry in header.entries.items()
        if _stays(entry, opened, dtype)
    }
    _check_room(header, kept, opened, dtype, int8)
    for name, num_heads in kept.items():
        layer, entry = ours[name].removesuffix(".weight"), header.entries[name]
        kind, rows = _KINDS[entry.ggml_type], _read_blocks(header, name, num_heads)
        quantized = QuantizedLinear(wrap(rows, opened), kind)
        if int8 and kind in GROUP_BYTES:
            grouped = wrap(group_rows(rows, kind), opened)
            quantized, model.activations = Int8Linear(grouped, kind, entry.shape[0]), "int8"
        elif not num_heads:
            model.mapped_file = MappedFile(header.check_unchanged)
        parent, _, attribute = layer.rpartition(".")
        setattr(layer_at(model, parent) if parent else model, attribute, quantized)
    rest = [name for name in ours if name not in kept]
    for theirs, exact in read_arrays(header, opened, rest):
        if num_heads := _interleaved(ours[theirs].removesuffix(".weight"), config):
            reorder_rows(exact, num_heads)
        weights[ours[theirs]].replace(hold(ours[theirs], exact, dtype, opened))
        del exact  # before the next is read
    if int8 and model.activations != "int8":
        raise header.error(
            f"activations='int8' is for weights in blocks of type {', '.join(GROUP_BYTES)}, and "
            "this file has none; leave it out"
        )
    model.tokenizer = tokenizer
    model.dtype = dtype
    model = place(store(model, dtype), opened)
    give_back(opened)
    header.check_unchanged()
    identify(model, partial(_stored, header))
    return model


def _stored(header: GGUFHeader) -> Stored:
    """The file's weights as they lie in it."""
    header.check_unchanged()
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


def _stays(entry: Entry, device: str, dtype: str | None) -> bool:
    """Whether a weight is read from its blocks in the file when needed: on the CPU, as it is."""
    kind = _KINDS.get(entry.ggml_type)
    fits = kind is not None and len(entry.shape) == 2 and not entry.shape[1] % BLOCK
    return fits and compiles_c(device) and (dtype is None or KIND_OF.get(kind or "") == dtype)


def _check_room(
    header: GGUFHeader, kept: dict[str, int], device: str, dtype: str | None, int8: bool
) -> None:
    """`kept`: of each weight that stays in its blocks, how many heads' rows are reordered."""
    shapes, blocks, grouped = [], [0], [0]
    for name, entry in header.entries.items():
        size = entry.stop - entry.start
        if name not in kept:
            shapes.append(entry.shape)
            continue
        blocks.append(2 * size if kept[name] else size)
        if int8 and (kind := _KINDS[entry.ggml_type]) in GROUP_BYTES:
            count = size // KINDS[kind].block_bytes
            grouped.append(-(-count // ROWS) * GROUP_BYTES[kind])
    # With what is there while one is looked at, and while one is grouped.
    beside = sum(blocks) + work_bytes(max(blocks)) + sum(grouped) + 2 * max(grouped)
    check_weights(header.path, shapes, device, dtype, beside=beside)


def _read_blocks(header: GGUFHeader, name: str, num_heads: int) -> NDArray[np.uint8]:
    """A weight's rows (out, bytes of a row): where they are mapped, or a copy, reordered."""
    entry = header.entries[name]
    raw, kind = header.data[entry.start : entry.stop], _KINDS[entry.ggml_type]
    if num_heads:
        raw = copied(header.read(entry.start, entry.stop))
    if not all_finite(_scales(raw, kind)):
        raise header.error(f"weight {name!r} holds NaN or infinity; the file is damaged")
    rows = raw.reshape(entry.shape[0], -1)
    if num_heads:
        reorder_rows(rows, num_heads)
    return rows


def _scales(raw: NDArray[np.uint8], kind: str) -> NDArray[Any]:
    """What can be NaN or infinite in the blocks of a weight."""
    if kind == "F16":
        return raw.view(np.float16)
    if kind == "BF16":
        return (raw.view(np.uint16).astype(np.uint32) << 16).view(np.float32)
    scales = raw.reshape(-1, KINDS[kind].block_bytes)[:, : 4 if kind == "Q4_1" else 2]
    return np.ascontiguousarray(scales).view(np.float16)
