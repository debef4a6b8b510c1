"""Estimates how much memory sampling needs, before it begins. Knows sizes; runs nothing.

A token costs `2 * L * K * E` numbers of keys and values: once for the prompt, once per row for
answers. They are of 4 bytes, 2 in float16, or 1 in int8 and scales. A recurrent layer has a state
in their place, of one size for all lengths. The decoder rounds rows and tokens up to powers of two.
On a GPU that memory is allocated at once; on a CPU only pages that are written count. Existing
buffers are not counted again.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from tinygrad import dtypes
from tinygrad.nn.state import get_parameters

from edifice_tt.architectures.causal_lm import CausalLM, CausalLMConfig
from edifice_tt.engine.decoder import CHUNK, ROOM, cache_size
from edifice_tt.engine.lockstep import devices_to_decode, share_out
from edifice_tt.engine.workspace import spare_decoder
from edifice_tt.machine.memory import available_bytes, check_buffer, check_room
from edifice_tt.machine.toolchain import devices_beside
from edifice_tt.nn.buffers import in_memory, weight_bytes
from edifice_tt.nn.cache import kv_dtype_of
from edifice_tt.nn.cpu.kernels import MEMBERS
from edifice_tt.nn.cpu.layer import scratch_floats
from edifice_tt.nn.kept import KV_DTYPES, kept_bytes

FLOAT = 4  # bytes; sums are float32, whatever weights, keys and values are


@dataclass(frozen=True)
class Sampling:
    """The sizes of a sampling task: rows, and tokens of the prompt and of answers."""

    prompt_size: int  # tokens
    rows: int
    tokens: int  # of an answer, at most
    batch_size: int
    devices: tuple[str, ...]

    @property
    def together(self) -> int:
        """The rows per batch and device, as in `lockstep.decode`."""
        return share_out(self.rows, len(self.devices), self.batch_size)[1]

    @property
    def decoding(self) -> tuple[str, ...]:
        """The devices that get their own cache."""
        batch, _ = share_out(self.rows, len(self.devices), self.batch_size)
        alone = self.tokens == 1 or self.rows <= batch
        return self.devices[:1] if alone else self.devices


def check_capacity(
    lm: CausalLM,
    *,
    prompt: int,
    n: int,
    tokens: int,
    batch_size: int,
    devices: Sequence[str] | None = None,
) -> None:
    """Raise `EdificeError` when sampling is known to need more memory than is free.

    `prompt` and `tokens` are the numbers of tokens of the prompt and, at most, of an answer. The
    error names what would fit: a smaller batch, shorter answers, or fewer bits a number.
    """
    found = devices_to_decode(lm, devices, n, batch_size)
    task = Sampling(prompt, n, tokens, batch_size, tuple(found))
    needed = needed_bytes(lm, task)
    for device, size in needed.items():
        available = available_bytes(device)
        if available is not None and size > available:
            advice = _advise(lm, task, device, available)
            check_room(f"sampling {n} candidates", size, available, device, advice)
        what = f"sampling {n} candidates keeps keys and values; those of a layer"
        layer = max(
            _layer_bytes(lm, device, task.together, tokens), _layer_bytes(lm, device, 1, prompt)
        )
        advice = "use a smaller batch_size, fewer tokens, or a device that allows more"
        check_buffer(what, layer, device, advice)


def needed_bytes(lm: CausalLM, task: Sampling, kv_dtype: str | None = None) -> dict[str, int]:
    """The bytes that sampling will allocate on each device; CPU devices are one memory.

    `kv_dtype` is another than the model's.
    """
    config, needed = lm.config, dict.fromkeys(task.devices, 0)
    kept = kv_dtype or kv_dtype_of(lm)
    span = cache_size(1, task.prompt_size)[1] + cache_size(task.together, task.tokens)[1]
    for device in task.devices:
        decoder = spare_decoder(lm, device)
        size = cache_size(task.together, task.tokens)
        if device in task.decoding and (decoder is None or size not in decoder.caches):
            needed[device] += cache_bytes(
                config, *_cached(device, task.together, task.tokens), kept
            )
        own = device == task.devices[0] or not in_memory(device)
        room = decoder.prefix.capacity if decoder and decoder.prefix else 0
        if own and room < task.prompt_size:
            needed[device] += cache_bytes(config, *_cached(device, 1, task.prompt_size), kept)
        if decoder is None:
            needed[device] += workspace_bytes(config, device, task.together, span)
            if device != lm.device and not in_memory(device):
                needed[device] += weight_bytes(lm)
    if in_memory(task.devices[0]):
        return {task.devices[0]: sum(needed.values())}
    return needed


def _cached(device: str, rows: int, tokens: int) -> tuple[int, int]:
    most = cache_size(rows, tokens)
    return (most[0], tokens) if in_memory(device) else most


def _layer_bytes(lm: CausalLM, device: str, rows: int, tokens: int) -> int:
    """The bytes of the keys and values of a layer, which are one buffer."""
    size = lm.config.num_kv_heads * kept_bytes(lm.config.backbone.head_dim, kv_dtype_of(lm))
    return 2 * math.prod(_cached(device, rows, tokens)) * size


def cache_bytes(
    config: CausalLMConfig, rows: int, tokens: int, kv_dtype: str = KV_DTYPES[0]
) -> int:
    """Keys and values of every token, and the states of every row."""
    return config.backbone.cache_bytes(rows, tokens, kv_dtype)


def workspace_bytes(config: CausalLMConfig, device: str, rows: int, span: int) -> int:
    """The bytes of a step besides caches and weights: hidden states, attention scores, logits."""
    c = config.backbone
    if in_memory(device):  # as `call_layer` makes room, of which a team uses as much
        members = min(MEMBERS, len(devices_beside("CPU")))
        floats = sum(scratch_floats(c, span, "TO_HALVES", members).values())
        return FLOAT * 2 * (floats + (rows + 1) * config.vocab_size)
    # The formula of experts computes all of them, by a copy of their second matrix.
    of_experts = c.experts * (c.expert_size or c.ffn_size)
    states = 4 * c.hidden_size + 3 * max(c.ffn_size, of_experts) + 3 * c.num_heads * span
    # Of a recurrence: a state before and behind, and what each token of a chunk is to each other.
    of_rows = 3 * rows * c.state_size + 6 * c.delta_value_heads * CHUNK * CHUNK
    copied = of_experts * c.hidden_size
    of_draws = (2 * rows + 1) * config.vocab_size  # logits, and of rows the weights of tokens
    return FLOAT * (max(rows, CHUNK) * states + of_rows + copied + of_draws)


def _advise(lm: CausalLM, task: Sampling, device: str, available: int) -> str:
    def fits(saved: int = 0, kv_dtype: str | None = None, **other: int) -> bool:
        changed = Sampling(**{**vars(task), **other})
        return needed_bytes(lm, changed, kv_dtype).get(device, 0) - saved <= available

    batches = [size for size in (64, 32, 16, 8, 4, 2, 1) if size < task.together]
    rooms = [ROOM << i for i in range(20, -1, -1) if ROOM << i < task.tokens]
    ways = [f"batch_size={size}" for size in batches if fits(batch_size=size)][:1]
    ways += [f"max_tokens={room}" for room in rooms if fits(tokens=room)][:1]
    if not ways:
        pairs = [(size, room) for room in rooms for size in batches]
        pairs = [pair for pair in pairs if fits(batch_size=pair[0], tokens=pair[1])]
        ways = [f"batch_size={size} with max_tokens={room}" for size, room in pairs[:1]]
    wide = sum(w.nbytes() // 2 for w in get_parameters(lm) if w.dtype == dtypes.float32)
    if wide and fits(saved=wide):
        ways.append("dtype=float16")
    narrower = KV_DTYPES[KV_DTYPES.index(kv_dtype_of(lm)) + 1 : 3 if in_memory(device) else 2]
    ways += [f"kv_dtype={kept}" for kept in narrower if fits(kv_dtype=kept)][:1]
    if task.prompt_size > ROOM and fits(prompt_size=ROOM):
        ways.append("a shorter prompt")
    *most, last = ways or ["a smaller model, or a device with more memory"]
    return f"use {', '.join(most)} or {last}" if most else f"use {last}"
