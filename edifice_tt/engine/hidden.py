"""Hidden states of sampled answers at any layers. Knows prompts and tokens; no head and no score.

A prompt is read once and its answers in batches, so this is cheap compared with sampling. Devices
share the problems, or the answers of a single problem; results do not depend on that.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from queue import SimpleQueue
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from edifice_tt.architectures.causal_lm import CausalLM
from edifice_tt.contract.errors import EdificeError
from edifice_tt.contract.options import whole
from edifice_tt.engine.decoder import Decoder
from edifice_tt.engine.lockstep import devices_for, share_out
from edifice_tt.engine.prefill import prefill
from edifice_tt.engine.prompt import encode_prompt
from edifice_tt.engine.workspace import workspace_of
from edifice_tt.nn.mapped import check_unchanged
from edifice_tt.pools.candidates import Candidate
from edifice_tt.pools.pool import Pool

ROWS, TOKENS = 16, 16  # answers, and tokens of each, that are read at once: one compiled shape

States = NDArray[np.float32]
Work = TypeVar("Work")
Read = TypeVar("Read")


class Texts(NamedTuple):
    """A prompt and what follows it, several times, as tokens."""

    prompt_ids: list[int]
    answers: list[list[int]]


def read_hidden(
    lm: CausalLM, pool: Pool, layer: int | None = None, devices: Sequence[str] | None = None
) -> list[States]:
    """The hidden states (T, D) of each candidate's tokens, after the prompt, in the pool's order.

    The states are those after `layer` blocks (default: all, as a head inside the model reads),
    through the final norm. Token ids include the one that ended the candidate; a candidate without
    ids is read by its text. The states depend only on the candidate and its prompt. `devices` as in
    `generate`.

    Raises `ValueError` for a layer out of range, and `EdificeError` for a candidate that is empty,
    does not fit the context, or comes from another model.
    """
    layer = check_layer(lm, layer)
    (states,) = read_layers(lm, [pool], [layer], devices)
    return states[layer]


def read_texts(
    lm: CausalLM, texts: Sequence[Texts], devices: Sequence[str] | None = None
) -> Iterator[list[States]]:
    """The hidden states (T, D) of all answers to each prompt, after the last layer and its norm.

    The states of an answer depend on it and its prompt alone, not on the answers beside it.
    """
    check_unchanged(lm)
    parts = [range(lm.config.num_layers)]
    return (states for (states,) in (_read_all(lm, texts, parts, devices) if texts else ()))


def read_layers(
    lm: CausalLM, pools: Sequence[Pool], layers: Sequence[int], devices: Sequence[str] | None = None
) -> Iterator[Mapping[int, list[States]]]:
    """`read_hidden` for several pools and layers, with one pass of the model.

    The states of each pool are yielded in the order of the pools, as soon as they are read. Answers
    are read up to the highest layer, prompts through all. Raises as `read_hidden` does, before
    anything is read.
    """
    check_unchanged(lm)
    edges = [0, *sorted({check_layer(lm, layer) for layer in layers})]
    if len(edges) == 1:
        raise ValueError(f"layers={layers!r} must name at least one layer")
    parts = [range(first, stop) for first, stop in pairwise(edges)]
    jobs = [_job(lm, pool, alone=len(pools) == 1) for pool in pools]
    read = _read_all(lm, jobs, parts, devices) if jobs else ()
    return ({part.stop: s for part, s in zip(parts, states, strict=True)} for states in read)


def check_layer(lm: CausalLM, layer: int | None) -> int:
    """The layer (None: the last); raises `ValueError` for one out of range."""
    last = lm.config.num_layers
    number = last if layer is None else whole(layer)
    if number is None or not 1 <= number <= last:
        raise ValueError(f"layer={layer!r} must be a whole number from 1 to {last}, the last layer")
    return number


def _read_all(
    lm: CausalLM, jobs: Sequence[Texts], parts: Sequence[range], devices: Sequence[str] | None
) -> Iterator[list[list[States]]]:
    """The states of each job, by part and answer."""
    rows, longest = (
        sum(len(job.answers) for job in jobs),
        max((job.prompt_ids for job in jobs), key=len),
    )
    with workspace_of(lm) as workspace:
        decoders = workspace.decoders(devices_for(lm, devices, rows, len(longest)))
        if lm.config.long_rope_from:
            yield from (_read_by_length(decoders, job, parts) for job in jobs)
        else:
            yield from _read_with(decoders, jobs, parts)


def _read_by_length(
    decoders: Sequence[Decoder], job: Texts, parts: Sequence[range]
) -> list[list[States]]:
    """The states of one job, of which long texts may be rotated in another way than short ones."""
    longest, states = decoders[0].model.config.long_rope_from, {}
    for is_long in (False, True):
        rows = [
            row
            for row, answer in enumerate(job.answers)
            if (len(job.prompt_ids) + len(answer) > longest) == is_long
        ]
        if rows:
            for decoder in decoders:
                decoder.expect(longest + is_long)
            some = job._replace(answers=[job.answers[row] for row in rows])
            (read,) = _read_with(decoders, [some], parts)
            states.update({row: [part[i] for part in read] for i, row in enumerate(rows)})
    return [[states[row][part] for row in sorted(states)] for part in range(len(parts))]


def _read_with(
    decoders: Sequence[Decoder], jobs: Sequence[Texts], parts: Sequence[range]
) -> Iterator[list[list[States]]]:
    room = max((len(answer) for job in jobs for answer in job.answers), default=1)
    most = max(len(job.answers) for job in jobs)
    longest = max((job.prompt_ids for job in jobs), key=len)
    # Several problems are shared out, not the answers of one.
    size, capacity = share_out(most, len(decoders) if len(jobs) == 1 else 1, ROWS)

    def read_rows(decoder: Decoder, answers: list[list[int]]) -> list[list[States]]:
        starts = range(0, len(answers), size)
        read = [_read_rows(decoder, answers[i : i + size], capacity, room, parts) for i in starts]
        return [[states for rows in read for states in rows[i]] for i in range(len(parts))]

    def read_job(decoder: Decoder, job: Texts) -> list[list[States]]:
        decoder.read_prompt(job.prompt_ids)
        return read_rows(decoder, job.answers)

    if len(decoders) == 1:
        yield from (read_job(decoders[0], job) for job in jobs)
    elif len(jobs) == 1:
        prefill(decoders, longest)
        for decoder in decoders:  # captured one after the other, as in `lockstep`
            read_rows(decoder, [[0]])
        shares = [jobs[0].answers[i : i + size] for i in range(0, most, size)]
        read = list(_side_by_side(decoders, read_rows, shares))
        yield [[states for rows in read for states in rows[i]] for i in range(len(parts))]
    else:
        decoders = decoders[: len(jobs)]
        for decoder in decoders:
            decoder.begin_prompt(longest)  # room for every prompt
            read_job(decoder, Texts(longest[:1], [[0]]))
        yield from _side_by_side(decoders, read_job, jobs)


def _side_by_side(
    decoders: Sequence[Decoder], read: Callable[[Decoder, Work], Read], work: Sequence[Work]
) -> Iterator[Read]:
    """Yield results in the order of the work; each runs on a thread with the next free decoder."""
    free = SimpleQueue[Decoder]()
    for decoder in decoders:
        free.put(decoder)

    def read_next(one: Work) -> Read:
        decoder = free.get()
        try:
            return read(decoder, one)
        finally:
            free.put(decoder)

    with ThreadPoolExecutor(len(decoders)) as threads:
        yield from threads.map(read_next, work)


def _read_rows(
    decoder: Decoder, answers: Sequence[list[int]], rows: int, room: int, parts: Sequence[range]
) -> list[list[States]]:
    """The states of at most `rows` answers to the decoder's prompt, by layers and answer."""
    # Chunks are padded, so the cache needs room for the padding too; it is rounded up to that.
    cache, last = decoder.cache_for(rows, room), decoder.model.config.num_layers
    by_part: list[list[list[States]]] = [[[] for _ in answers] for _ in parts]
    for start in range(0, max(map(len, answers)), TOKENS):
        chunks = [answer[start : start + TOKENS] for answer in answers]
        ids = np.zeros((cache.batch, TOKENS), dtype=np.int32)
        for row, chunk in enumerate(chunks):
            ids[row, : len(chunk)] = chunk
        wanted = [row * TOKENS + t for row, chunk in enumerate(chunks) for t in range(len(chunk))]
        behind, inputs = cache.holding(start, decoder.prefix), ids
        for part, states in zip(parts, by_part, strict=True):
            hidden, normed = decoder.step(inputs, behind, wanted, part)
            inputs = hidden  # (B, T, D)
            for row, chunk in enumerate(chunks):
                if chunk:
                    own = (inputs if part.stop == last else normed)[row, : len(chunk)]
                    states[row].append(own.astype(np.float32))
    return [[np.concatenate(one) for one in states] for states in by_part]


def _job(lm: CausalLM, pool: Pool, alone: bool) -> Texts:
    try:
        prompt = encode_prompt(lm, pool.prompt)
        room = lm.config.context_length - len(prompt)
        return Texts(prompt, [_token_ids(lm, candidate, room) for candidate in pool])
    except (EdificeError, ValueError) as error:
        if alone:
            raise
        raise EdificeError(f"problem {pool.problem!r}: {error}") from error


def _token_ids(lm: CausalLM, candidate: Candidate, room: int) -> list[int]:
    ids = list(candidate.token_ids) or lm.tokenizer.encode_plain(candidate.text)
    who, size = f"candidate {candidate.index}", lm.config.vocab_size
    if not ids:
        raise EdificeError(f"{who} is empty: no hidden state to score")
    if len(ids) > room:
        raise EdificeError(f"{who} has {len(ids)} tokens, the model's context has room for {room}")
    if strange := [i for i in ids if not 0 <= i < size]:
        raise EdificeError(
            f"{who} has token id {strange[0]}, the model's go from 0 to {size - 1}; the pool is "
            "another model's"
        )
    return ids
