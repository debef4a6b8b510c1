"""Rows that fork: each stands where it stands, is copied, dropped and begun between steps.

Knows tokens, caches and steps; knows no sampling, no text and no search. Rows of a batch are read
at one position per step. So the row that is furthest behind goes first until others are level with
it, and a position is read once for all that are there.
"""

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from threading import Event
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edifice_tt.contract.errors import EdificeError
from edifice_tt.engine.decoder import ROWS, Decoder, Logits
from edifice_tt.engine.lockstep import share_out
from edifice_tt.engine.prefill import prefill
from edifice_tt.nn.buffers import in_memory
from edifice_tt.nn.cache import KVCache

State = NDArray[np.float32]


@dataclass(eq=False)
class Branch:
    """A row behind the prompt: its tokens, and how many of them have been read.

    `logits` (V,) are those behind the last token read, or behind the prompt. `states` (D,) are the
    hidden states of the tokens read, where they are kept. A row that has `ended` is read no
    further, unless its states are kept.
    """

    ids: list[int] = field(default_factory=list)
    read: int = 0
    logits: Logits | None = None
    states: list[State] = field(default_factory=list)
    ended: bool = False
    source: "Branch | None" = None  # whose keys and values it still has to copy
    place: "Place | None" = None
    rests: bool = False

    def fork(self) -> "Branch":
        """A copy as it stands, which needs its keys and values only when it goes on."""
        return Branch([*self.ids], self.read, self.logits, [*self.states], self.ended, self)


# (row, logits (V,)) -> the row's next token, and whether to go on behind it
Draw = Callable[[Branch, Logits], tuple[int, bool]]


@dataclass(frozen=True)
class Place:
    """Where a row's keys and values are."""

    bed: "Bed"
    slot: int


@dataclass(eq=False)
class Bed:
    """A cache and the rows in it."""

    decoder: Decoder
    cache: KVCache
    rows: dict[int, Branch] = field(default_factory=dict)  # by slot
    computed: int = 0
    padding: int = 0

    @property
    def free(self) -> list[int]:
        return [slot for slot in range(self.cache.batch) if slot not in self.rows]

    def copy(self, sources: dict[int, Place], length: int) -> None:
        """Make each slot a copy of another place."""
        for bed in dict.fromkeys(one.bed for one in sources.values()):
            slots = {slot: one.slot for slot, one in sources.items() if one.bed is bed}
            self.decoder.copy_rows(self.cache, bed.cache, slots, length)


class Branches:
    """The rows of one search after one prompt, on one device or on several cores.

    A row reads each of its tokens once; a copy reads none of those that it was copied with.
    `computed` counts the tokens that were read for a row, `padding` what a step computed besides:
    on a device other than a CPU, every row of the cache takes part. A row whose memory is gone is
    read again, which `again` counts.
    """

    def __init__(
        self,
        decoders: Sequence[Decoder],
        prompt_ids: Sequence[int],
        tokens: int,
        *,
        batch_size: int = ROWS,
        layer: int | None = None,
        cores: int = 1,
    ) -> None:
        """`tokens` is the most of a row. `layer` is the one whose states to keep, None for none.

        So many `cores` of a CPU read the prompt.
        """
        lead = decoders[0]
        if len(decoders) > 1 and not in_memory(lead.model.device):
            raise EdificeError(
                f"a search keeps its rows on one device, given {len(decoders)}; name one"
            )
        for decoder in decoders:
            decoder.expect(len(prompt_ids) + tokens)
        self.logits = prefill(decoders, prompt_ids, cores)
        self.again = 0
        self._decoders, self._tokens, self._batch_size = decoders, tokens, batch_size
        self._layer, self._beds = layer, list[Bed]()

    @property
    def computed(self) -> int:
        """The tokens that were read, those of `again` among them."""
        return sum(bed.computed for bed in self._beds)

    @property
    def padding(self) -> int:
        """What steps computed for nobody."""
        return sum(bed.padding for bed in self._beds)

    @property
    def keeps_states(self) -> bool:
        """Whether rows have states."""
        return self._layer is not None

    def lose(self, row: Branch) -> None:
        """Forget what was read of a row, so that it is read again."""
        self.again += row.read
        row.read, row.states = 0, []

    def begin(self) -> Branch:
        """A new row, behind the prompt alone."""
        return Branch(logits=self.logits)

    def advance(self, rows: Iterable[Branch], draw: Draw, waiting: Iterable[Branch] = ()) -> None:
        """Draw for each row until it is to go no further, and read what was drawn.

        Other rows lose their memory, but those that are `waiting` and those that these are copied
        from. An exception, or Ctrl-C, ends all after their step.
        """
        going = [row for row in rows if not row.ended or self._is_behind(row)]
        if not going:
            return
        self._settle([*dict.fromkeys([*going, *(row for row in waiting if not row.ended)])])
        for row in going:
            row.rests = False
        stop, by_decoder = Event(), dict[Decoder, list[Bed]]()
        for bed in {row.place.bed: None for row in going if row.place is not None}:
            by_decoder.setdefault(bed.decoder, []).append(bed)

        def work(beds: list[Bed]) -> None:
            try:
                for bed in beds:
                    rows = [row for row in bed.rows.values() if row in going]
                    self._sweep(bed, rows, draw, stop)
            except BaseException:
                stop.set()
                raise

        _side_by_side(work, [*by_decoder.values()], stop)

    def close(self) -> None:
        """Give back the memory of the rows."""
        for bed in self._beds:
            bed.decoder.release(bed.cache)

    def _settle(self, rows: list[Branch]) -> None:
        """Give each row a place, and the keys and values that it begins with."""
        sources = {row: _origin(row) for row in rows if row.place is None}
        self._drop({*rows, *sources.values()})
        places = {one: one.place for one in sources.values() if one}
        heirs = {one: row for row, one in sources.items() if one and one not in rows}
        for source, row in heirs.items():  # the last copy of a row that goes on no more
            row.place, source.place = source.place, None
            assert row.place is not None
            row.place.bed.rows[row.place.slot] = row
        others = [row for row in sources if row.place is None]
        self._make_room(len(others))
        moves: dict[Bed, dict[int, Place]] = {}
        for row in others:
            bed = max(self._beds, key=lambda one: len(one.free))
            row.place = Place(bed, bed.free[0])
            bed.rows[row.place.slot] = row
            parent = sources[row]
            if (place := places.get(parent) if parent else None) is not None:
                moves.setdefault(bed, {})[row.place.slot] = place
            elif row.read:  # what it had read is gone
                self.lose(row)
        for bed, slots in moves.items():
            bed.copy(slots, max(row.read for row in others))
        for row in sources:
            row.source = None

    def _drop(self, needed: set[Branch | None]) -> None:
        for bed in self._beds:
            for slot in [slot for slot, row in bed.rows.items() if row not in needed]:
                bed.rows.pop(slot).place = None

    def _make_room(self, rows: int) -> None:
        missing, count = rows - sum(len(bed.free) for bed in self._beds), len(self._decoders)
        # At first one for each decoder, so that they share the rows.
        while missing > 0 or 0 < len(self._beds) < count:
            decoder = self._decoders[len(self._beds) % count]
            _, room = share_out(rows, count, self._batch_size)
            # The first of a decoder is one that other calls use, with its steps.
            is_first = len(self._beds) < count
            cache = (decoder.cache_for if is_first else decoder.extra_cache)(room, self._tokens)
            self._beds.append(bed := Bed(decoder, cache))
            missing -= cache.batch
            if count > 1:  # captured here, since tinygrad captures one at a time
                self._step(bed, 0, [])

    def _sweep(self, bed: Bed, rows: Sequence[Branch], draw: Draw, stop: Event) -> None:
        """Advance the rows of a bed."""
        for row in rows:
            if row.read == len(row.ids) and not row.ended:
                assert row.logits is not None
                self._draw(row, row.logits, draw)
        while not stop.is_set() and (behind := [row for row in rows if self._is_behind(row)]):
            at = min(row.read for row in behind)
            now = [row for row in behind if row.read == at]
            logits, states = self._step(bed, at, now)
            bed.computed += len(now)
            if not in_memory(bed.decoder.model.device):
                bed.padding += bed.cache.batch - len(now)
            for row in now:
                assert row.place is not None
                row.read += 1
                if states is not None:
                    row.states.append(states[row.place.slot].astype(np.float32))
                if row.read == len(row.ids) and not (row.rests or row.ended):
                    self._draw(row, logits[row.place.slot], draw)
                if row.read == len(row.ids):
                    row.logits = logits[row.place.slot].copy()

    def _is_behind(self, row: Branch) -> bool:
        """Whether a token is to be read: of an ended row the last one only for its state."""
        return row.read < len(row.ids) - (row.ended and self._layer is None)

    def _draw(self, row: Branch, logits: Logits, draw: Draw) -> None:
        token, goes_on = draw(row, logits)
        row.ids.append(token)
        row.rests = not goes_on

    def _step(self, bed: Bed, at: int, rows: Sequence[Branch]) -> tuple[Logits, Any]:
        """Read the tokens at one position: logits (B, V), and the states (B, D) if wanted."""
        ids = np.zeros((bed.cache.batch, 1), dtype=np.int32)
        for slot, row in bed.rows.items():
            # Where all rows take part, one that is further on reads its own token once more.
            if at < len(row.ids):
                ids[slot] = row.ids[at]
        behind = bed.cache.holding(at, bed.decoder.prefix)
        slots = [row.place.slot for row in rows if row.place is not None] or [0]
        last = bed.decoder.model.config.num_layers
        if self._layer is None or self._layer == last:
            hidden, logits = bed.decoder.step(ids, behind, slots)
            return logits, None if self._layer is None else hidden[:, 0]
        hidden, normed = bed.decoder.step(ids, behind, slots, range(self._layer))
        states = normed[:, 0].copy()
        _, logits = bed.decoder.step(hidden, behind, slots, range(self._layer, last))
        return logits, states


def _origin(row: Branch) -> Branch | None:
    """The row that still has what this one is a copy of, if there is one."""
    source = row.source
    while source is not None and source.place is None:
        # A row that was copied and never went on has nothing of its own.
        same = source.source is not None and source.read == row.read
        source = source.source if same else None
    return source if source is not None and source.read == row.read else None


def _side_by_side(
    work: Callable[[list[Bed]], None], jobs: Sequence[list[Bed]], stop: Event
) -> None:
    if len(jobs) == 1:
        work(jobs[0])
        return
    with ThreadPoolExecutor(len(jobs)) as pool:
        try:
            list(pool.map(work, jobs))
        except BaseException:
            stop.set()
            raise
