"""Decodes many rows after one prompt in lock-step, shared by devices. Knows no text, no scorer.

Where one device decodes, all cores of a CPU share the work of each step. Several decode batches of
their own, each on its own thread: tinygrad releases Python's lock while a kernel runs. What a row
reads and draws does not depend on its neighbours.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from queue import Empty, SimpleQueue
from threading import Event
from typing import TypeVar

import numpy as np

from edifice_tt.architectures.causal_lm import CausalLM
from edifice_tt.engine.decoder import Decoder, Logits
from edifice_tt.engine.draws import Ask, asked_of
from edifice_tt.engine.draws import draw as draw_behind
from edifice_tt.engine.prefill import prefill
from edifice_tt.machine.toolchain import devices_beside
from edifice_tt.nn.buffers import weight_bytes
from edifice_tt.nn.cache import KVCache
from edifice_tt.nn.cpu.bridge import compiles_c
from edifice_tt.nn.gpu.draws import Drawn

Row = TypeVar("Row")
# (row, logits (V,) or what was drawn from them, position) -> the row's next token, or None when it
# has ended
Draw = Callable[[Row, Logits | Drawn, int], int | None]

LARGE = 1 << 28  # bytes of weights, beside whose step what Python does between steps is little
SHARE = 2  # rows that make one more device worth while
FEWEST = 8  # rows that a batch has room for, so that fewer need no program of their own


def devices_for(lm: CausalLM, devices: Sequence[str] | None, rows: int) -> Sequence[str]:
    """The named devices, or as many as are useful for so many rows."""
    return devices_beside(lm.device)[: max(1, -(-rows // SHARE))] if devices is None else devices


def cores_for(lm: CausalLM, devices: Sequence[str] | None) -> int:
    """The cores that a step on a CPU may use: one per device that is named, else all."""
    return len(devices_beside(lm.device) if devices is None else devices)


def devices_to_decode(
    lm: CausalLM, devices: Sequence[str] | None, rows: int, batch_size: int
) -> Sequence[str]:
    """Those of `devices_for` that share the rows.

    On a CPU one has all, and all cores help. Of a small model with rows for several batches each
    core decodes its own, since the host draws meanwhile.
    """
    found = devices_for(lm, devices, rows)
    together = rows <= batch_size or weight_bytes(lm) >= LARGE
    return found[:1] if together and all(map(compiles_c, found)) else found


def share_out(rows: int, devices: int, most: int) -> tuple[int, int]:
    """The rows per batch when devices share them, at most `most`, and the batch's capacity."""
    batch = min(most, max(SHARE, -(-rows // devices)))
    return batch, min(most, max(FEWEST, batch))


def decode(
    decoders: Sequence[Decoder],
    prompt_ids: Sequence[int],
    rows: Sequence[Row],
    tokens: int,
    batch_size: int,
    draw: Draw[Row],
    cores: int = 1,
    ask: Ask[Row] | None = None,
) -> None:
    """Read the prompt, then draw up to `tokens` tokens for each row.

    The prompt is read once. Behind the first token a device draws what it is asked for, if it can,
    or all logits cross to the host. Where one device is at work, its steps use so many `cores`. An
    exception on one device, or Ctrl-C, ends all after their step.
    """
    for decoder in decoders:
        decoder.expect(len(prompt_ids) + tokens)
    logits = prefill(decoders, prompt_ids, cores)
    size, room = share_out(len(rows), len(decoders), batch_size)
    batches = SimpleQueue[Sequence[Row]]()
    for start in range(0, len(rows), size):
        batches.put(rows[start : start + size])
    stop = Event()

    def work(decoder: Decoder) -> None:
        # One size for all batches, or a smaller one would be captured while others replay.
        cache = decoder.cache_for(room, tokens)
        try:
            while not stop.is_set():
                some = batches.get_nowait()
                held = decoder.hold(cache, prompt_ids, len(some)).rows
                _decode_batch(decoder, cache, some, logits, tokens, draw, stop, held, ask)
        except Empty:
            return
        except BaseException:
            stop.set()
            raise

    if tokens == 1 or len(decoders) == 1 or batches.qsize() == 1:
        with decoders[0].helped(cores):
            work(decoders[0])
        return
    for decoder in decoders:  # captured one after the other, since tinygrad captures one at a time
        decoder.warm_up(room, tokens)
    with ThreadPoolExecutor(len(decoders)) as pool:
        try:
            list(pool.map(work, decoders))
        except BaseException:
            stop.set()
            raise


def _decode_batch(
    decoder: Decoder,
    cache: KVCache,
    rows: Sequence[Row],
    logits: Logits,
    tokens: int,
    draw: Draw[Row],
    stop: Event,
    held: Sequence[list[int]],
    ask: Ask[Row] | None,
) -> None:
    drawn = {slot: draw(row, logits, 0) for slot, row in enumerate(rows)}
    ids = np.zeros((cache.batch, 1), dtype=np.int32)
    for position in range(1, tokens):
        active = {slot: token for slot, token in drawn.items() if token is not None}
        if not active or stop.is_set():
            return
        for slot, token in active.items():
            ids[slot] = token
        behind = cache.holding(position - 1, decoder.prefix)
        asked = asked_of(decoder, ask, {slot: rows[slot] for slot in active}, position)
        following = draw_behind(decoder, ids, behind, asked)
        for slot, token in active.items():
            held[slot].append(token)
        drawn = {slot: draw(rows[slot], following[slot], position) for slot in active}
