"""GGUF files of the known families -> `causal_lm`.

Which of the file's names and layouts are which weights of ours stands in `families`.
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
from edifice_tt.nn.formats import FORMATS
from edifice_tt.nn.mapped import MappedFile
from edifice_tt.nn.stored.blocks import QuantizedLinear, layer_at
from edifice_tt.nn.stored.halves import choose_dtype, hold, store
from edifice_tt.nn.stored.int8 import KINDS, ROWS, Int8Linear, group_into, grouped_room
from edifice_tt.weights.families.family import GGUF
from edifice_tt.weights.footprint import check_weights, work_bytes
from edifice_tt.weights.gguf import read_arrays
from edifice_tt.weights.gguf_config import ROPE_FACTORS, read_config
from edifice_tt.weights.gguf_header import Entry, GGUFHeader
from edifice_tt.weights.safetensors import check_fit, differences, foreign
from edifice_tt.weights.tokenizer import Tokenizer

_FORMATS = {form.ggml_type: form for form in FORMATS.values()}
_PART = 1 << 20  # bytes that are read together


def reorder_rows(weight: NDArray[Any], num_heads: int) -> None:
    """Reorder each head's rows, in place, from rotary pairs (2i, 2i+1) to pairs (i, i + E/2)."""
    for head in weight.reshape(num_heads, -1, weight[0].size):
        head[:] = np.concatenate([head[0::2], head[1::2]])


@exclusive
def load_gguf(
    path: str | os.PathLike[str],
    device: str | None = None,
    dtype: str | None = None,
    activations: str = "float32",
) -> CausalLM:
    """Build the language model that a file holds, with its tokenizer.

    `dtype` and `activations` as in `load_pretrained`. Names and shapes are compared before a weight
    moves. Raises `CheckpointError` as `read_gguf` does, for an unknown architecture, and
    with all differences in the weights at once; `ValueError` where activations cannot be rounded.
    """
    header = GGUFHeader(path)
    try:
        family, config = read_config(header)
        with held_to(entry.shape for entry in header.entries.values()):
            model = CausalLM(config)
        tokenizer = Tokenizer.from_gguf(header.metadata)
        if tokenizer.vocab_size > config.vocab_size:
            raise ValueError(f"{tokenizer.vocab_size} tokens for {config.vocab_size} embeddings")
    except (ValueError, CheckpointError) as error:
        raise header.error(str(error)) from error
    header.metadata.clear()  # a vocabulary's texts take as much memory as some weights
    weights = get_state_dict(model)
    ours = {family.rename(name, GGUF): name for name in weights}
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
    heads = {name: _heads(ours[name], config) for name in ours if family.rotary_pairs}
    kept = {
        name: heads.get(name, 0)
        for name, entry in header.entries.items()
        if _stays(entry, opened, dtype)
    }
    _check_room(header, kept, opened, dtype, int8)
    for name, num_heads in kept.items():
        layer, entry = ours[name].removesuffix(".weight"), header.entries[name]
        form = _FORMATS[entry.ggml_type]
        bias = layer_at(model, layer).bias  # filled below
        quantized: QuantizedLinear
        if int8 and form.whole_numbers:
            grouped = wrap(_read_grouped(header, name, num_heads), opened)
            quantized = Int8Linear(grouped, form.name, entry.shape[0], bias)
            model.activations = "int8"
        else:
            blocks = wrap(_read_blocks(header, name, num_heads), opened)
            quantized = QuantizedLinear(blocks, form.name, bias)
            if not num_heads:
                model.mapped_file = MappedFile(header.check_unchanged)
        parent, _, attribute = layer.rpartition(".")
        setattr(layer_at(model, parent) if parent else model, attribute, quantized)
    rest = [name for name in ours if name not in kept]
    for theirs, exact in read_arrays(header, opened, rest):
        if heads.get(theirs):
            reorder_rows(exact, heads[theirs])
        weights[ours[theirs]].replace(hold(ours[theirs], exact, dtype, opened))
        del exact  # before the next is read
    if int8 and model.activations != "int8":
        raise header.error(
            f"activations='int8' is for weights in blocks of type {', '.join(KINDS)}, and "
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
        parts = range(entry.start, entry.stop, _PART)
        read = (header.read(start, min(start + _PART, entry.stop)) for start in parts)
        yield [name, list(entry.shape), entry.ggml_type], read


def check_activations(activations: str) -> str:
    """The same; raises `ValueError` for what nobody can round to."""
    if activations not in ("float32", "int8"):
        raise ValueError(f"activations={activations!r} must be 'float32' or 'int8'")
    return activations


def _heads(name: str, config: CausalLMConfig) -> int:
    """How many heads the rows of a weight are; 0 where they are not rotated."""
    heads = {"q_proj": config.num_heads, "k_proj": config.num_kv_heads}
    return heads.get(name.split(".")[-2], 0)


def _stays(entry: Entry, device: str, dtype: str | None) -> bool:
    """Whether a weight is read from its blocks in the file when needed: on the CPU, as it is."""
    form = _FORMATS.get(entry.ggml_type)
    if form is None or len(entry.shape) != 2 or entry.shape[1] % form.weights:
        return False
    return compiles_c(device) and dtype in (None, form.dtype)


def _check_room(
    header: GGUFHeader, kept: dict[str, int], device: str, dtype: str | None, int8: bool
) -> None:
    """`kept`: of each weight that stays in its blocks, how many heads' rows are reordered."""
    shapes, blocks, parts = [], [0], [0]
    for name, entry in header.entries.items():
        size, form = entry.stop - entry.start, _FORMATS.get(entry.ggml_type)
        if name not in kept:
            shapes.append(entry.shape)
        elif int8 and form and form.whole_numbers:
            blocks.append(size + size // entry.shape[0] * (-entry.shape[0] % ROWS))
            parts.append(2 * _rows_at_once(entry, kept[name]) * size // entry.shape[0])
        else:
            blocks.append(2 * size if kept[name] else size)
    # With what is there while one is looked at, and while one is grouped.
    beside = sum(blocks) + work_bytes(max(blocks)) + max(parts)
    check_weights(header.path, shapes, device, dtype, beside=beside)


def _read_blocks(header: GGUFHeader, name: str, num_heads: int) -> NDArray[np.uint8]:
    """A weight's rows (out, bytes of a row): where they are mapped, or a copy, reordered."""
    entry = header.entries[name]
    raw = header.data[entry.start : entry.stop]
    if num_heads:
        raw = copied(header.read(entry.start, entry.stop))
    return _checked(header, name, raw, num_heads)


def _read_grouped(header: GGUFHeader, name: str, num_heads: int) -> NDArray[np.uint8]:
    """The same as `group_rows` gives them. Of the file's own little is in memory at a time."""
    entry = header.entries[name]
    out, kind = entry.shape[0], _FORMATS[entry.ggml_type].name
    row_bytes = (entry.stop - entry.start) // out
    grouped, step = grouped_room(out, row_bytes), _rows_at_once(entry, num_heads)
    for first in range(0, out, step):
        last = min(first + step, out)
        raw = header.read(*(entry.start + row * row_bytes for row in (first, last)))
        rows = _checked(header, name, raw, num_heads)
        group_into(grouped[first // ROWS : -(-last // ROWS)], rows, kind)
    return grouped


def _rows_at_once(entry: Entry, num_heads: int) -> int:
    """How many rows are read, checked and grouped together: of heads all."""
    row_bytes = (entry.stop - entry.start) // entry.shape[0]
    return entry.shape[0] if num_heads else max(1, _PART // (ROWS * row_bytes)) * ROWS


def _checked(
    header: GGUFHeader, name: str, raw: NDArray[np.uint8], num_heads: int
) -> NDArray[np.uint8]:
    """Rows of a weight whose scales are numbers; those of heads are reordered in place."""
    entry = header.entries[name]
    if not all_finite(_FORMATS[entry.ggml_type].scales_of(raw)):
        raise header.error(f"weight {name!r} holds NaN or infinity; the file is damaged")
    rows = raw.reshape(-1, (entry.stop - entry.start) // entry.shape[0])
    if num_heads:
        reorder_rows(rows, num_heads)
    return rows
