"""GGUF files of the known families -> `causal_lm`.

Which of the file's names and layouts are which weights of ours stands in `families`.
"""

import os
from collections.abc import Collection, Iterator, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from tinygrad import Tensor, dtypes
from tinygrad.nn.state import get_state_dict

from edifice_tt.architectures.causal_lm import CausalLM, CausalLMConfig
from edifice_tt.architectures.fingerprint import Stored, begin_hash, set_origin
from edifice_tt.contract.errors import CheckpointError
from edifice_tt.machine.exclusive import exclusive
from edifice_tt.machine.toolchain import open_device
from edifice_tt.nn.buffers import give_back, held_to, in_memory, place, put, wrap
from edifice_tt.nn.cpu.bridge import compiles_c, computes_halves, multiplies_bfloats
from edifice_tt.nn.cpu.grouping import ROWS
from edifice_tt.nn.cpu.kernels import largest
from edifice_tt.nn.formats import FORMATS
from edifice_tt.nn.mapped import MappedFile
from edifice_tt.nn.stored.bfloat16 import Bfloat16Linear
from edifice_tt.nn.stored.blocks import QuantizedLinear, keeps_blocks, layer_at
from edifice_tt.nn.stored.float16 import LARGEST, Float16Linear
from edifice_tt.nn.stored.halves import choose_dtype, hold, store
from edifice_tt.nn.stored.int8 import KINDS, Int8Linear
from edifice_tt.weights.families.family import GGUF, found_in, reorder_rows
from edifice_tt.weights.footprint import check_weights, stored_bytes, work_bytes
from edifice_tt.weights.gguf import read_arrays
from edifice_tt.weights.gguf_blocks import BlockRows
from edifice_tt.weights.gguf_config import LONG_ROPE_FACTORS, ROPE_FACTORS, beyond, read_config
from edifice_tt.weights.gguf_header import Entry
from edifice_tt.weights.gguf_parts import Header, open_gguf
from edifice_tt.weights.rewards.kinds import check_no_judge
from edifice_tt.weights.safetensors import check_fit, differences
from edifice_tt.weights.tokenizer import Tokenizer

_PART = 1 << 22  # bytes that are hashed together
_GROUPED = {"bfloat16": Bfloat16Linear, "int8": Int8Linear}  # what reads rows that stand together
ACTIVATIONS = ("float32", "float16", *_GROUPED)


@exclusive
def load_gguf(
    path: str | os.PathLike[str],
    device: str | None = None,
    dtype: str | None = None,
    activations: str = "float32",
    apart: Collection[str] = (),
) -> CausalLM:
    """Build the language model that a file holds, with its tokenizer.

    `dtype` and `activations` as in `load_pretrained`. Tensors `apart` are a judge's head. Names and
    shapes are compared before a weight moves. Raises `CheckpointError` as `read_gguf` does, for an
    unknown architecture, and with all differences in the weights at once; `ValueError` where
    activations cannot be rounded.
    """
    plan = _plan(path, apart)
    header, config, model, weights = plan.header, plan.config, plan.model, plan.weights
    digest = begin_hash(model, _stored(header))
    opened = open_device(device)
    model.tokenizer = _tokenizer(header, config)
    give_back(opened)  # what a vocabulary took on the way is as much as some weights
    stands_together = _GROUPED.get(check_activations(activations))
    _check_rounds(activations, opened, dtype)
    dtype = choose_dtype(dtype, opened)
    kept = plan.kept(opened, dtype)
    _check_room(plan, kept, opened, dtype, stands_together is not None)
    for name, blocks in kept.items():
        layer, form = name.removesuffix(".weight"), blocks.form
        assert form is not None
        bias = layer_at(model, layer).bias  # filled below
        quantized: QuantizedLinear
        if stands_together and form.whole_numbers and _groups(name, blocks, config):
            grouped = wrap(blocks.grouped(), opened)
            quantized = stands_together(grouped, form.name, blocks.count, bias)
            model.activations = activations
        else:
            raw = blocks.mapped() if in_memory(opened) else blocks.read()
            kind = Float16Linear if activations == "float16" else QuantizedLinear
            quantized = kind(put(raw, opened), form.name, bias)
            if isinstance(quantized, Float16Linear):
                _check_largest(header, blocks.where.name, quantized)
                model.activations = "float16"
            del raw  # before the next is read
            if not blocks.num_heads and in_memory(opened):
                model.mapped_file = MappedFile(header.check_unchanged)
        parent, _, attribute = layer.rpartition(".")
        setattr(layer_at(model, parent) if parent else model, attribute, quantized)
    rest = {name: one for name, one in plan.rows.items() if name not in kept}
    names = {one.where.name for one in rest.values()}
    for theirs, whole in read_arrays(header, opened, names):
        for name, one in rest.items():
            if one.where.name != theirs:
                continue
            flat = whole.reshape(-1, whole.shape[-1]) if whole.ndim > 2 else whole
            exact = flat[one.where.rows]
            if one.num_heads:
                reorder_rows(exact, one.num_heads)
            weights[name].replace(hold(name, exact, dtype, opened))
        del whole, flat, exact  # before the next is read
    if model.activations != activations:
        kinds = ", ".join(KINDS if stands_together else FORMATS)
        raise header.error(
            f"activations={activations!r} is for weights in blocks of type {kinds}, and "
            "this file has none; leave it out"
        )
    model.dtype = dtype
    model = place(store(model, dtype), opened)
    give_back(opened)
    header.check_unchanged()
    set_origin(model, digest)
    return model


class _Plan(NamedTuple):
    """What a file holds, and where each weight stands in it; none is read yet."""

    header: Header
    config: CausalLMConfig
    model: CausalLM
    weights: Mapping[str, Tensor]
    rows: Mapping[str, BlockRows]

    def kept(self, device: str, dtype: str | None) -> dict[str, BlockRows]:
        """The weights that stay in their blocks."""
        return {name: one for name, one in self.rows.items() if _stays(one, device, dtype)}

    def left(self, kept: Collection[str]) -> list[tuple[int, ...]]:
        """The shapes of the others."""
        return [tuple(weight.shape) for name, weight in self.weights.items() if name not in kept]


def _plan(path: str | os.PathLike[str], apart: Collection[str]) -> _Plan:
    header = open_gguf(path)
    try:
        family, config = read_config(header)
        ahead = beyond(header, family, config.num_layers)
        with held_to(entry.shape for entry in header.entries.values()):
            model = CausalLM(config)
    except (ValueError, CheckpointError) as error:
        raise header.error(str(error)) from error
    if not apart:
        check_no_judge(header.path, header.entries)
    weights = get_state_dict(model)
    placed = family.places(weights, GGUF, 0)
    places = {name: place for name, (place,) in placed.items()}
    beside = {ROPE_FACTORS, *LONG_ROPE_FACTORS, *apart, *ahead}
    shapes = {name: one.shape for name, one in header.entries.items() if name not in beside}
    shapes = found_in(shapes, placed, config.experts)
    found = {name: (shape, dtypes.float32) for name, shape in shapes.items()}
    check_fit(header.path, differences(weights, found))
    heads = {name: _heads(name, config) if family.rotary_pairs else 0 for name in places}
    rows = {name: BlockRows(header, where, heads[name]) for name, where in places.items()}
    return _Plan(header, config, model, weights, rows)


def _tokenizer(header: Header, config: CausalLMConfig) -> Tokenizer:
    """The tokenizer of a file, which gives up its metadata for it."""
    try:
        tokenizer = Tokenizer.from_gguf(header.metadata)
        if tokenizer.vocab_size > config.vocab_size:
            raise ValueError(f"{tokenizer.vocab_size} tokens for {config.vocab_size} embeddings")
    except (ValueError, CheckpointError) as error:
        raise header.error(str(error)) from error
    header.metadata.clear()
    return tokenizer


def size_gguf(
    path: str | os.PathLike[str], device: str, dtype: str | None = None
) -> tuple[CausalLM, int]:
    """The model of a file, not filled, and the bytes of its weights on a device that is open.

    Raises as `load_gguf` does for what is wrong in the file's header.
    """
    plan, dtype = _plan(path, ()), choose_dtype(dtype, device)
    _tokenizer(plan.header, plan.config)
    kept = plan.kept(device, dtype)
    blocks = sum(
        one.copied_bytes if in_memory(device) else one.stored_bytes for one in kept.values()
    )
    return plan.model, blocks + stored_bytes(plan.left(kept), dtype, device)


def _stored(header: Header) -> Stored:
    """The file's weights as they lie in it; raises `CheckpointError` when it changed meanwhile."""
    for name, entry in sorted(header.entries.items()):
        yield [name, list(entry.shape), entry.ggml_type], _parts(header, entry)
    header.check_unchanged()


def _parts(header: Header, entry: Entry) -> Iterator[NDArray[np.uint8]]:
    for start in range(entry.start, entry.stop, _PART):
        with header.borrowed(start, min(start + _PART, entry.stop)) as part:
            yield part


def check_activations(activations: str) -> str:
    """The same; raises `ValueError` for what nobody can round to."""
    if activations not in ACTIVATIONS:
        *most, last = map(repr, ACTIVATIONS)
        raise ValueError(f"activations={activations!r} must be {', '.join(most)} or {last}")
    return activations


def _check_rounds(activations: str, device: str, dtype: str | None) -> None:
    if activations == "float32":
        return
    if not compiles_c(device):
        raise ValueError(
            f"activations={activations!r} needs tinygrad's CPU device with clang, given {device}; "
            "use device='CPU', or leave it out"
        )
    if activations == "float16" and not computes_halves(device):
        raise ValueError(
            "activations='float16' needs a processor that computes in float16 (x86 with "
            "AVX512_FP16, Arm with FP16 vectors), and this one does not; use activations='int8', "
            "or leave it out"
        )
    if activations == "bfloat16" and not multiplies_bfloats(device):
        raise ValueError(
            "activations='bfloat16' needs a processor that multiplies matrices in bfloat16, and a "
            "system that lets it (Intel's AMX with AVX512_FP16, on Linux), and here is none; use "
            "activations='int8', or leave it out"
        )
    if dtype is not None:
        raise ValueError(
            f"activations={activations!r} reads the file's own blocks, so dtype={dtype!r} has "
            "nothing to store; leave one of them out"
        )


def _check_largest(header: Header, name: str, layer: Float16Linear) -> None:
    if (most := largest(layer.packed)) > LARGEST:
        raise header.error(
            f"weight {name!r} holds {most:.4g}, and activations='float16' is for weights of up to "
            f"{LARGEST}: sums could overflow; use activations='int8', or leave it out"
        )


def _heads(name: str, config: CausalLMConfig) -> int:
    """How many heads the rows of a weight are; 0 where they are not rotated."""
    heads = {"q_proj": config.num_heads, "k_proj": config.num_kv_heads}
    return heads.get(name.split(".")[-2], 0)


def _stays(rows: BlockRows, device: str, dtype: str | None) -> bool:
    """Whether a weight stays in its blocks, which kernels of the device read as they are."""
    return rows.form is not None and dtype in (None, rows.form.dtype) and keeps_blocks(device)


def _groups(name: str, rows: BlockRows, config: CausalLMConfig) -> bool:
    """Whether no group of rows belongs to two experts."""
    return ".experts." not in name or rows.count // config.experts % ROWS == 0


def _check_room(
    plan: _Plan, kept: Mapping[str, BlockRows], device: str, dtype: str | None, groups: bool
) -> None:
    blocks, parts = [0], [0]
    each = {name: one.stored_bytes for name, one in kept.items()}
    for one in kept.values():
        if groups and one.form and one.form.whole_numbers:
            blocks.append(one.grouped_bytes)
            parts.append(one.part_bytes)
        elif in_memory(device):
            blocks.append(one.copied_bytes)
        else:
            blocks.append(one.stored_bytes)
            parts.append(one.stored_bytes)
    # With what is there while one is looked at, and while one is grouped or on its way.
    beside = sum(blocks) + work_bytes(max(blocks)) + max(parts)
    check_weights(plan.header.path, plan.left(kept), device, dtype, beside=beside, blocks=each)
