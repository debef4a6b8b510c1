"""Hidden states of sampled answers at any layers. Knows prompts and tokens; no head and no score.

A prompt is read once and its answers in batches, so this is cheap compared with sampling. Devices
share the problems, or the answers of a single problem; results do not depend on that.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import pairwise
from queue import SimpleQueue
from typing import NamedTuple, TypeVar

from edifice_tt.architectures.causal_lm import CausalLM
from edifice_tt.contract.errors import EdificeError
from edifice_tt.contract.options import whole
from edifice_tt.engine.counting import counted, uncounted
from edifice_tt.engine.decoder import Decoder
from edifice_tt.engine.held import Held
from edifice_tt.engine.lockstep import cores_for, devices_for, share_out
from edifice_tt.engine.prefill import prefill
from edifice_tt.engine.prompt import encode_prompt
from edifice_tt.engine.rows import Row, States, read_rows
from edifice_tt.engine.workspace import workspace_of
from edifice_tt.nn.mapped import check_unchanged
from edifice_tt.pools.candidates import Candidate
from edifice_tt.pools.pool import Pool

ROWS = 16  # answers that are read at once: one compiled shape

Work = TypeVar("Work")
Read = TypeVar("Read")


class Texts(NamedTuple):
    """A prompt and what follows it, several times, as tokens.

    `places` are those of each answer at which states are wanted; None: all.
    """

    prompt_ids: list[int]
    answers: list[list[int]]
    places: Sequence[Sequence[int]] | None = None


def read_hidden(
    lm: CausalLM,
    pool: Pool,
    layer: int | None = None,
    devices: Sequence[str] | None = None,
    last_only: bool = False,
) -> list[States]:
    """The hidden states (T, D) of each candidate's tokens, after the prompt, in the pool's order.

    The states are those after `layer` blocks (default: all, as a head inside the model reads),
    through the final norm. Token ids include the one that ended the candidate; a candidate without
    ids is read by its text. The states depend only on the candidate and its prompt, also where the
    model has just sampled it and keeps what it computed. `devices` as in `generate`; `last_only` as
    in `read_layers`.

    Raises `ValueError` for a layer out of range, and `EdificeError` for a candidate that is empty,
    does not fit the context, or comes from another model.
    """
    layer = check_layer(lm, layer)
    (states,) = read_layers(lm, [pool], [layer], devices, last_only)
    return states[layer]


def read_texts(
    lm: CausalLM, texts: Sequence[Texts], devices: Sequence[str] | None = None
) -> Iterator[list[States]]:
    """The hidden states of all answers to each prompt, after the last layer and its norm.

    The states of an answer depend on it and its prompt alone, not on the answers beside it.
    """
    check_unchanged(lm)
    parts = [range(lm.config.num_layers)]
    return (states for (states,) in (_read_all(lm, texts, parts, devices) if texts else ()))


def read_layers(
    lm: CausalLM,
    pools: Sequence[Pool],
    layers: Sequence[int],
    devices: Sequence[str] | None = None,
    last_only: bool = False,
) -> Iterator[Mapping[int, list[States]]]:
    """`read_hidden` for several pools and layers, with one pass of the model.

    With `last_only` the states are those (1, D) of each candidate's last token.

    The states of each pool are yielded in the order of the pools, as soon as they are read. Answers
    are read up to the highest layer, prompts through all. Raises as `read_hidden` does, before
    anything is read.
    """
    check_unchanged(lm)
    edges = [0, *sorted({check_layer(lm, layer) for layer in layers})]
    if len(edges) == 1:
        raise ValueError(f"layers={layers!r} must name at least one layer")
    parts = [range(first, stop) for first, stop in pairwise(edges)]
    jobs = [_job(lm, pool, last_only, alone=len(pools) == 1) for pool in pools]
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
    rows, cores = sum(len(job.answers) for job in jobs), cores_for(lm, devices)
    with workspace_of(lm) as workspace:
        decoders = workspace.decoders(devices_for(lm, devices, rows))
        with _lent_by(workspace.by_device.values()) as held:
            if lm.config.long_rope_from:
                by_length = (_read_by_length(decoders, job, parts, held, cores) for job in jobs)
                yield from counted(decoders, by_length)
            else:
                yield from counted(decoders, _read_with(decoders, jobs, parts, held, cores))


@contextmanager
def _lent_by(decoders: Iterable[Decoder]) -> Iterator[list[Held]]:
    """Provide what decoders hold, in caches that nobody writes to within this context."""
    lent = [(decoder, decoder.lend()) for decoder in decoders if decoder.is_linked]
    try:
        yield [held for _, some in lent for held in some.values()]
    finally:
        for decoder, some in lent:
            decoder.take_back(some)


def _read_by_length(
    decoders: Sequence[Decoder],
    job: Texts,
    parts: Sequence[range],
    held: Sequence[Held],
    cores: int,
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
            places = job.places and [job.places[row] for row in rows]
            some = Texts(job.prompt_ids, [job.answers[row] for row in rows], places)
            (read,) = _read_with(decoders, [some], parts, held, cores)
            states.update({row: [part[i] for part in read] for i, row in enumerate(rows)})
    return [[states[row][part] for row in sorted(states)] for part in range(len(parts))]


def _read_with(
    decoders: Sequence[Decoder],
    jobs: Sequence[Texts],
    parts: Sequence[range],
    held: Sequence[Held],
    cores: int,
) -> Iterator[list[list[States]]]:
    room = max((len(answer) for job in jobs for answer in job.answers), default=1)
    most = max(len(job.answers) for job in jobs)
    longest = max((job.prompt_ids for job in jobs), key=len)
    # Several problems are shared out, not the answers of one.
    size, rows_at_once = share_out(most, len(decoders) if len(jobs) == 1 else 1, ROWS)

    def read(decoder: Decoder, prompt_ids: list[int], rows: Sequence[Row]) -> list[list[States]]:
        return read_rows(decoder, prompt_ids, rows, (rows_at_once, room), parts, held)

    def read_job(decoder: Decoder, job: Texts) -> list[list[States]]:
        if not decoder.holds(job.prompt_ids):
            decoder.read_prompt(job.prompt_ids)
        return _in_order(
            job,
            size,
            parts,
            lambda shares: (read(decoder, job.prompt_ids, share) for share in shares),
        )

    def read_alone(job: Texts) -> list[list[States]]:
        with decoders[0].helped(cores):
            return read_job(decoders[0], job)

    if len(decoders) == 1:
        yield from (read_alone(job) for job in jobs)
    elif len(jobs) == 1:
        _share_prompt(decoders, longest, cores)
        for decoder in decoders:  # captured one after the other, as in `lockstep`
            with uncounted(decoder):
                read(decoder, longest, [Row([0], [0])])
        yield _in_order(
            jobs[0],
            size,
            parts,
            lambda shares: _side_by_side(
                decoders, lambda decoder, share: read(decoder, longest, share), shares
            ),
        )
    else:
        decoders = decoders[: len(jobs)]
        for decoder in decoders:
            decoder.begin_prompt(longest)  # room for every prompt
            with uncounted(decoder):
                read_job(decoder, Texts(longest[:1], [[0]]))
        yield from _side_by_side(decoders, read_job, jobs)


def _share_prompt(decoders: Sequence[Decoder], ids: list[int], cores: int) -> None:
    lead, *others = decoders
    if not lead.holds(ids):
        prefill(decoders, ids, cores)
        return
    for other in others:
        other.take_prompt(lead)


def _in_order(
    job: Texts,
    size: int,
    parts: Sequence[range],
    read: Callable[[list[list[Row]]], Iterable[list[list[States]]]],
) -> list[list[States]]:
    """The states of a job by part and answer, of which texts of one length are read together."""
    places = job.places or [range(len(ids)) for ids in job.answers]
    rows = [Row.until(ids, some) for ids, some in zip(job.answers, places, strict=True)]
    order = sorted(range(len(rows)), key=lambda i: len(rows[i].ids))
    shares = [[rows[i] for i in order[at : at + size]] for at in range(0, len(rows), size)]
    found = list(read(shares))
    by_part = [[states for share in found for states in share[i]] for i in range(len(parts))]
    back = sorted(range(len(rows)), key=order.__getitem__)
    return [[states[i] for i in back] for states in by_part]


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


def _job(lm: CausalLM, pool: Pool, last_only: bool, alone: bool) -> Texts:
    try:
        prompt = encode_prompt(lm, pool.prompt)
        room = lm.config.context_length - len(prompt)
        answers = [_token_ids(lm, candidate, room) for candidate in pool]
        return Texts(prompt, answers, [[len(ids) - 1] for ids in answers] if last_only else None)
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
