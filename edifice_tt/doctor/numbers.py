"""Checks a device's results: small models against stored numbers. Knows no file."""

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tinygrad import Tensor

from edifice_tt.architectures.test_time_compute import select_best_of_n
from edifice_tt.contract.errors import reason_of
from edifice_tt.doctor import formulas
from edifice_tt.doctor.check import Check
from edifice_tt.engine.decoder import Decoder
from edifice_tt.nn.gpu.draws import draw, drawn_of, filters_of, serves, words_of
from edifice_tt.nn.stored.halves import supported_dtypes
from edifice_tt.sampling.draws import Sampler, as_told

TOLERANCE = 2e-5  # for scores, which are about 1
LM_TOLERANCE = 1e-4  # for logits, which are up to 6
WRONG = "this device computes wrong numbers: try another --device, and report this"

Floats = NDArray[np.floating[Any]]


def check_numbers(device: str, say: Callable[[str], None]) -> Iterator[Check]:
    """All self-checks on an opened device."""
    names = ("self-check", "ties and NaN", "random draws", "decoding")
    for name, examine in zip(names, (_scores, _ties, _draws, _decoding), strict=True):
        say(f"{name} on {device}")
        try:
            yield examine(name, device)
        except Exception as error:  # a driver or a compiler raises what it likes
            advice = f"this device cannot run it ({type(error).__name__}): try another --device"
            yield Check(name, f"{device}: {reason_of(error)}", False, advice)


def scores(device: str) -> Floats:
    """The scores (T) of the small ported model."""
    x = Tensor(formulas.wave((1, 5, 6), 99)[..., :6], device=device)
    numbers: Floats = formulas.test_time_compute(device)(x).scores.numpy()[0, :, 0].astype(float)
    return numbers


def best_of(columns: Sequence[Sequence[float]], device: str) -> list[int]:
    """The index of the best of N in each column of scores."""
    by_candidate = np.array(columns, dtype=np.float32).T
    indices: list[int] = select_best_of_n(Tensor(by_candidate, device=device)).tolist()
    return indices


def decode_error(device: str, dtype: str) -> float:
    """The largest difference in logits between reading a text at once and token by token.

    It decodes two rows that share a prompt.
    """
    model = formulas.causal_lm(device, dtype)
    decoder = Decoder(lambda: model)
    prompt, rows = [3, 60, 7, 7, 21], [[5, 0, 33], [44, 12, 9]]
    worst = _difference(model([prompt]).logits.numpy()[:, -1], decoder.read_prompt(prompt))
    whole = model([prompt + row for row in rows]).logits.numpy()[:, len(prompt) :]  # (B, T, V)
    cache = decoder.cache_for(len(rows), len(rows[0]))
    for position in range(len(rows[0])):
        ids = np.array([[row[position]] for row in rows], dtype=np.int32)
        _, logits = decoder.step(ids, cache.holding(position, decoder.prefix), [0, 1])
        worst = max(worst, _difference(whole[:, position], logits))
    return worst


def _difference(a: Floats, b: Floats) -> float:
    return float(np.abs(a - b).max())  # NaN if there is one


def _scores(name: str, device: str) -> Check:
    started = time.perf_counter()
    worst = _difference(scores(device), np.array(formulas.SCORES))
    seconds = time.perf_counter() - started
    words = f"{device}: largest error {worst:.1e} of {TOLERANCE:.0e} allowed, {seconds:.1f} s"
    right = worst <= TOLERANCE  # False for NaN
    return Check(name, words, right, "" if right else WRONG)


def _ties(name: str, device: str) -> Check:
    nan, inf = float("nan"), float("inf")
    columns = ((1, 2, 2), (nan, 1, 2), (2, nan, 2), (nan,) * 3, (-inf, nan, -inf), (0, inf, 1))
    indices, expected = best_of(columns, device), [1, 2, 0, 0, 0, 1]
    if indices == expected:
        return Check(name, "of equal scores the first, never a NaN over a number", True)
    return Check(name, f"{device}: chose {indices}, expected {expected}", False, WRONG)


def _draws(name: str, device: str) -> Check:
    sampler, logits = Sampler(**formulas.DRAW_SETTINGS), formulas.draw_logits()
    draws = tuple(tuple(sampler.draw(logits, i, p)[0] for p in range(4)) for i in range(4))
    if draws == formulas.DRAWS:
        if serves(device, len(logits)) and not draws_alike(sampler, logits, device):
            return Check(name, f"{device}: drew otherwise than the host", False, WRONG)
        return Check(name, "16 seeded draws are the stored ones", True)
    advice = "this NumPy draws other numbers: seeds give other answers here than elsewhere"
    return Check(name, f"drew {draws}, expected {formulas.DRAWS}", False, advice)


def draws_alike(sampler: Sampler, logits: NDArray[np.float32], device: str) -> bool:
    """Whether a device that draws gives the bits of the host, of what it does not leave to it."""
    places = [(i, p) for i in range(4) for p in range(4)]
    asked = {row: sampler.ask(*place) for row, place in enumerate(places)}
    words = Tensor(words_of(asked, len(places), len(logits)), device=device).realize()
    given = Tensor(np.tile(logits, (len(places), 1)), device=device).realize()
    found = map(drawn_of, draw(given, words, filters_of(asked[0], len(logits))).numpy())
    return all(
        one is None or as_told(one) == sampler.draw(logits, *place)
        for one, place in zip(found, places, strict=True)
    )


def _decoding(name: str, device: str) -> Check:
    dtypes = [dtype for dtype in ("float32", "float16") if dtype in supported_dtypes(device)]
    errors = {dtype: decode_error(device, dtype) for dtype in dtypes}
    numbers = ", ".join(f"{error:.1e} in {dtype}" for dtype, error in errors.items())
    right = all(error <= LM_TOLERANCE for error in errors.values())
    words = f"token by token as at once: largest error {numbers} of {LM_TOLERANCE:.0e} allowed"
    return Check(name, f"{device}: {words}", right, "" if right else WRONG)
