"""How far the rotary frequencies of a model are stretched, so that it reads longer texts.

Each kind of `rope_scaling` becomes factors that divide the frequencies, and a scale of cos and sin.
Knows no file.
"""

import math

from edifice_tt.contract.options import check_range


def llama3(
    base: float, size: int, factor: float, low: float, high: float, original: float
) -> tuple[float, ...]:
    """Llama 3.1: slow rotations are stretched, fast ones kept, those between blended.

    `low` and `high` are turns within the `original` length. Of a head, `size` numbers are rotated.
    """
    if low >= high:
        raise ValueError(f"low_freq_factor={low} must be below high_freq_factor={high}")
    factors = []
    for i in range(size // 2):
        turns = original / _wavelength(base, size, i)
        keep = min(max((turns - low) / (high - low), 0.0), 1.0)
        factors.append(_blend(factor, keep))
    return tuple(factors)


def yarn(
    base: float,
    size: int,
    factor: float,
    original: float,
    fast: float = 32.0,
    slow: float = 1.0,
    truncate: bool = True,
) -> tuple[float, ...]:
    """YaRN (Peng et al., 2023, arXiv:2309.00071): as Llama 3.1, blended by the pair's number.

    `fast` and `slow` are turns within the `original` length. Raises `ValueError`.
    """
    if base == 1:
        raise ValueError("YaRN needs frequencies that differ, so a rotary base above 1")
    check_range("rope_turns", fast, "beta_fast")
    check_range("rope_turns", slow, "beta_slow")
    ends = (
        size * math.log(original / (turns * 2 * math.pi)) / (2 * math.log(base))
        for turns in (fast, slow)
    )
    low, high = ends
    if truncate:
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, size - 1)
    if low == high:
        high += 0.001
    keep = (1 - min(max((i - low) / (high - low), 0.0), 1.0) for i in range(size // 2))
    return tuple(_blend(factor, one) for one in keep)


def yarn_scale(factor: float, mscale: float = 1.0, of_all: float = 0.0) -> float:
    """The scale of cos and sin with YaRN; DeepSeek's files weigh it by two numbers of their own."""

    def grown(weight: float) -> float:
        return 1.0 if factor <= 1 else 0.1 * weight * math.log(factor) + 1

    return grown(mscale) / grown(of_all) if mscale and of_all else grown(1.0)


def longrope_scale(factor: float, original: float) -> float:
    """The scale of cos and sin with LongRoPE (Ding et al., 2024, arXiv:2402.13753)."""
    return 1.0 if factor <= 1 else math.sqrt(1 + math.log(factor) / math.log(original))


def _wavelength(base: float, size: int, pair: int) -> float:
    return 2 * math.pi * math.pow(base, 2 * pair / size)


def _blend(factor: float, keep: float) -> float:
    """What divides a frequency of which a share stays as it is."""
    return 1 / ((1 - keep) / factor + keep)
