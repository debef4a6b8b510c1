"""What has been read, as later tokens need it. An argument, never an attribute; knows no layer."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from tinygrad import Tensor, UOp, dtypes

from edifice_tt.nn.buffers import in_memory, view, wrap, zeros
from edifice_tt.nn.config import BackboneConfig
from edifice_tt.nn.cpu.kernels import HEADER
from edifice_tt.nn.gpu.bridge import dialect_of
from edifice_tt.nn.kept import KV_DTYPES, kept_size, narrow
from edifice_tt.nn.ops import Memory
from edifice_tt.nn.stored.halves import choose_dtype, supported_dtypes

STATES = 2  # dimensions of a recurrent layer's buffer, (B, numbers)


class Layers(tuple[Tensor, ...]):
    """The buffers of a cache, one per layer. Equal to nothing but itself.

    A layer with attention has its keys and values (2, B, S, K, E), in one of `KV_DTYPES`; of
    int8 the last axis holds the scales as well. A recurrent one has the float32 states (B, numbers)
    behind the last token that was read. So a step that was linked to these buffers is found by them
    alone, and keeps them alive.
    """

    __slots__ = ()
    __eq__, __ne__ = object.__eq__, object.__ne__
    __hash__ = object.__hash__


@dataclass(frozen=True)
class KVCache:
    """Keys, values and states of the tokens read so far.

    `length` tokens of the capacity S are filled; reading more writes behind them, in place. Keys
    and values can be written again. A state cannot: each token is read once, in its order, and a
    text begins anew at length 0. `prefix` holds what all rows read before: its batch is 1, so N
    candidates share one prompt. At length 0 each row copies the state of the prefix.
    `rows`, int32, tells a kernel what the prefix and these buffers hold. It says how many of the
    B * T tokens that are read next are wanted, and after the address of a `Team`, or 0, which: of
    each row the first. The others may hold anything, and change no state. Without it all are
    wanted. `of_long` says that the text is longer than what `Rope.long_from` says, and so rotated
    as long texts are.
    """

    layers: Layers
    batch: int
    capacity: int
    length: int | UOp = 0
    prefix: "KVCache | None" = None
    rows: Tensor | None = None
    of_long: bool = False

    @classmethod
    def empty(
        cls,
        config: BackboneConfig,
        batch: int,
        capacity: int,
        device: str,
        kv_dtype: str = KV_DTYPES[0],
    ) -> "KVCache":
        check_kv_dtype(kv_dtype, device)
        size = kept_size(config.head_dim, kv_dtype)
        attended = (2, batch, capacity, config.num_kv_heads, size)
        states = (batch, config.state_size)
        # Zeros, not empty: a masked position still multiplies its value by a weight of 0. In memory
        # they take none until they are written to.
        arrays = [
            zeros(*states) if layer in config.recurrent_layers else zeros(*attended, dtype=kv_dtype)
            for layer in range(config.num_layers)
        ]
        if in_memory(device):
            return cls(Layers(wrap(layer, device) for layer in arrays), batch, capacity)
        layers = [Tensor(layer, device=device) for layer in arrays]
        Tensor.realize(*layers)
        return cls(Layers(layers), batch, capacity)

    @property
    def position(self) -> int | UOp:
        """The position in the text of the next token to be read."""
        return self.length if self.prefix is None else self.prefix.length + self.length

    @property
    def span(self) -> int:
        """The largest number of positions that this cache and its prefix can hold."""
        return self.capacity + (self.prefix.capacity if self.prefix else 0)

    def holding(
        self, length: int | UOp, prefix: "KVCache | None" = None, rows: Tensor | None = None
    ) -> "KVCache":
        """The same buffers, said to hold `length` tokens, behind `prefix`."""
        return replace(self, length=length, prefix=prefix, rows=rows)

    def wanting_all(self, x: Tensor, team: tuple[int, int] = (0, 0)) -> "KVCache":
        """The same, with `rows` for all tokens of x (B, T, D), and the address of a team."""
        B, T, _ = x.shape
        shared = 0 if self.prefix is None else self.prefix.length
        rows = np.array([shared, self.length, B * T, *team, *range(B * T)], dtype=np.int32)
        return replace(self, rows=Tensor(rows, device=x.device))

    def seen(self, tokens: int, device: str) -> list[Tensor]:
        """How many positions of the prefix (if any) and of this cache T new tokens may see."""
        own = count_up(self.length + 1, tokens, device)
        return [own] if self.prefix is None else [count_up(self.prefix.length, 1, device), own]

    def remember(
        self, layer: int, kv: Tensor, seen: list[Tensor], wanted: Tensor | None = None
    ) -> list[Memory]:
        """Write keys and values (2, B, T, K, E) of new tokens; returns what they may attend to.

        With `wanted` (B, T) those of others stay: a row that waits further on is read by its state,
        which cannot give its own keys again.
        """
        buffer = self.layers[layer]
        window = buffer[:, :, self.length : self.length + kv.shape[2]]
        kv = narrow(kv, buffer.dtype)
        if wanted is not None:
            kv = wanted.reshape(1, *wanted.shape, 1, 1).where(kv, window)
        # The supported way to write in place inside a captured graph: whatever reads `own` is
        # ordered after the store.
        own = Tensor(buffer.uop.after(window.uop.store(kv.uop)))
        buffers = [own] if self.prefix is None else [self.prefix.layers[layer], own]
        return [Memory(kv, count) for kv, count in zip(buffers, seen, strict=True)]

    def take(self, other: "KVCache", rows: Mapping[int, int], length: int) -> None:
        """Make rows copies of another cache's, on a CPU: row -> whose copy; so many tokens."""
        at, of = [*rows], [*rows.values()]
        for own, theirs in zip(map(view, self.layers), map(view, other.layers), strict=True):
            if own.ndim == STATES:
                own[at] = theirs[of]
            else:
                own[:, at, :length] = theirs[:, of, :length]

    def taking(self, other: "KVCache", rows: Tensor) -> Iterator[Tensor]:
        """`take` of all tokens, layer by layer: of each row (B,) whose copy it is, or -1."""
        taken = rows >= 0
        for own, theirs in zip(self.layers, other.layers, strict=True):
            of = rows.maximum(0)
            copied = theirs[of] if own.ndim == STATES else theirs[:, of]
            shape = (-1, 1) if own.ndim == STATES else (1, -1, 1, 1, 1)
            new = taken.reshape(shape).where(copied, own).contiguous()
            yield Tensor(own.uop.after(own.uop.store(new.uop)))

    def recall(self, layer: int, wanted: Tensor) -> Tensor:
        """The states (B, numbers) before the next token, as a copy; of `wanted` (B, T) tokens."""
        assert self.rows is not None
        own, first = self.layers[layer], Tensor.zeros(1, device=self.rows.device)
        if self.prefix is not None:
            first = (self.rows[0] > 0).where(self.prefix.layers[layer], 0)
        begins = (self.rows[1] == 0) & wanted[:, :1]  # a row that waits further on keeps its own
        return begins.where(first, own).contiguous()  # (B, numbers)

    def keep(self, layer: int, states: Tensor, answers: Tensor) -> Tensor:
        """Write the states behind the last token; returns the answers, that come after it."""
        buffer = self.layers[layer]
        stored = buffer.uop.store(states.cast(buffer.dtype).contiguous().uop)
        return Tensor(answers.contiguous().uop.after(stored))

    def wanted(self, tokens: int) -> Tensor:
        """Which of so many tokens of each row `rows` lists: (B, T) bool."""
        assert self.rows is not None
        count, at = self.rows[2], self.rows[HEADER:]
        places = Tensor.arange(self.batch * tokens)
        listed = (places < count).where(at, -1)
        return (listed.unsqueeze(0) == places.unsqueeze(1)).any(1).reshape(self.batch, tokens)


def check_kv_dtype(kv_dtype: str | None, device: str = "CPU") -> None:
    """Raise `ValueError` unless it is None or one of `KV_DTYPES` that the device keeps."""
    if kv_dtype is not None and kv_dtype not in KV_DTYPES:
        raise ValueError(f"kv_dtype={kv_dtype!r} must be 'float32', 'float16' or 'int8'")
    if kv_dtype == "int8" and not in_memory(device):
        raise ValueError(
            f"kv_dtype='int8' needs tinygrad's CPU device, given {device}; use kv_dtype='float16' "
            "or device='CPU'"
        )


def choose_kv_dtype(kv_dtype: str | None, device: str) -> str:
    """The dtype asked for, as `choose_dtype`; by default float16 on a GPU with a dialect here."""
    check_kv_dtype(kv_dtype, device)
    if kv_dtype is None:
        halves = dialect_of(device) is not None and "float16" in supported_dtypes(device)
        return "float16" if halves else "float32"
    if kv_dtype == "int8":
        return kv_dtype
    return choose_dtype(kv_dtype, device, "keys and values") or "float32"


def kv_dtype_of(model: Any) -> str:
    """What a model's keys and values are kept as; a plugin's need not say it."""
    kept: str = getattr(model, "kv_dtype", KV_DTYPES[0])
    return kept


def count_up(start: int | UOp, tokens: int, device: str) -> Tensor:
    """start, start + 1, ...: int32 (T,)."""
    return (Tensor.arange(tokens) + start).cast(dtypes.int32).clone(device)
