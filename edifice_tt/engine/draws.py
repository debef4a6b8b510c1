"""The next tokens of rows: drawn by the device, or the logits from which the host draws them.

Knows one decoder, and what rows ask for; no sampler and no text.
"""

from collections.abc import Callable, Mapping
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from edifice_tt.engine.captures import CapturedStep
from edifice_tt.engine.decoder import Decoder, Logits
from edifice_tt.nn.cache import KVCache
from edifice_tt.nn.gpu.draws import Asked, Drawn, serves

Row = TypeVar("Row")
Ask = Callable[[Row, int], Asked | None]  # (row, position) -> what a device is asked to draw there


def asked_of(
    decoder: Decoder, ask: Ask[Row] | None, rows: Mapping[int, Row], position: int
) -> dict[int, Asked | None]:
    """What the rows ask the decoder's device for; None of all where it draws nothing."""
    if ask is None or not serves(decoder.model.device, decoder.model.config.vocab_size):
        return dict.fromkeys(rows)
    return {slot: ask(row, position) for slot, row in rows.items()}


def draw(
    decoder: Decoder, ids: NDArray[np.int32], cache: KVCache, asked: Mapping[int, Asked | None]
) -> dict[int, Drawn | Logits]:
    """Read a token (B, 1) of each row; returns what the device has drawn for those that ask.

    In place of it stand the logits (V,) of a row that asks for nothing, or whose draw is the
    host's: valid until the next step.
    """
    given = {row: one for row, one in asked.items() if one is not None and one.is_served}
    if len(given) == len(asked):
        step, rows = decoder.step_of(ids, cache, [*asked])
        if isinstance(step, CapturedStep):
            return step.draw(ids, rows, given)
    _, logits = decoder.step(ids, cache, [*asked])
    return {row: logits[row] for row in asked}
