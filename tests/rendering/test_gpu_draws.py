"""The draws of GPUs, played in Metal and in CUDA against the formula; and each can fail."""

from itertools import product

import numpy as np
import pytest
from gpu_draws import KINDS, SAMPLERS, drawn_by, left_of
from player import Misplayed

from edifice_tt.nn.gpu import draws
from edifice_tt.nn.gpu.source import render
from edifice_tt.sampling.draws import Sampler, as_told

pytestmark = pytest.mark.slow

dialects = pytest.mark.parametrize("dialect", ["metal", "cuda"])


@pytest.mark.slow
@dialects
@pytest.mark.parametrize("size", [1, 97, 1009, 2053])
@pytest.mark.parametrize("filters", SAMPLERS, ids=" ".join)
def test_a_gpu_draws_what_the_formula_draws_with_its_bits(run, dialect, filters, size):
    left = {kind: left_of(run, dialect, kind, size, filters) for kind in KINDS}
    # Where many weigh the same a number may stand at an edge.
    assert not left["any"]
    assert sum(map(len, left.values())) <= 2


@pytest.mark.slow
@dialects
@pytest.mark.parametrize("threads", [32, 64, 256])
def test_groups_of_each_size_draw_the_same(run, dialect, threads):
    for filters in SAMPLERS:
        assert not left_of(run, dialect, "any", 1009, filters, threads=threads)


@pytest.mark.slow
@pytest.mark.parametrize("dialect", ["cuda"])
def test_whole_numbers_take_the_place_of_float64(run, dialect):
    """As on METAL, which has none."""
    for kind in ("any", "flat", "huge"):
        assert not left_of(run, dialect, kind, 1009, (), has_doubles=False)


@dialects
def test_what_has_no_highest_logit_is_left_to_the_formula(run, dialect):
    """Which raises the error that a draw on the host raises. A row that asks for nothing waits."""
    logits = np.zeros((5, 97), np.float32)
    logits[0, 3], logits[1, 5], logits[2] = np.nan, np.inf, -np.inf
    logits[3, 96], logits[3, 0] = 1, -np.nan
    asked = {row: Sampler(0.5 * (row % 2)).ask(row, 0) for row in range(4)}
    assert set(drawn_by(run, dialect, logits, asked).values()) == {None}
    asked = {4: Sampler(0).ask(0, 0)}
    assert as_told(drawn_by(run, dialect, logits, asked)[4])[0] == 0


@dialects
def test_a_number_at_an_edge_is_left_to_the_formula(run, dialect):
    """Two equal halves: what is next to 1/2 is nearer to the edge than weights can tell."""
    numbers = {0.0: None, 0.4999: 0, 0.5 - 1e-8: None, 0.5: None, 0.5 + 1e-8: None, 0.5001: 1}
    logits = np.zeros((len(numbers), 2), np.float32)
    asked = {i: draws.Asked(1.0, 0, 1.0, number) for i, number in enumerate(numbers)}
    found = drawn_by(run, dialect, logits, asked)
    assert [one and one.token for one in found.values()] == [*numbers.values()]


@dialects
def test_edges_that_the_formula_might_not_tell_apart_are_left_to_it(run, dialect):
    """Logits that differ by less than 1e-9 of the temperature; a sum that is just reached."""
    logits = np.full((2, 4), 1e-12, np.float32)
    logits[0, 2], logits[1, 3] = 2e-12, -5
    asked = dict.fromkeys(range(2), draws.Asked(1.0, 1, 1.0, 0.5))
    found = drawn_by(run, dialect, logits, asked)
    assert [one and one.token for one in found.values()] == [None, 0]
    asked = dict.fromkeys(range(2), draws.Asked(1.0, 0, 0.75, 0.4))
    logits[0] = 0  # of four equals three are 0.75 of all
    assert drawn_by(run, dialect, logits, asked)[0] is None


@pytest.mark.slow
@pytest.mark.parametrize("arch", ["sm_80", "sm_90"])
def test_a_draw_is_compiled_for_cuda(nvrtc, arch):
    """With float64 and without, for a vocabulary as large as models have."""
    filters = [*SAMPLERS][-1]
    made = [k for has in (True, False) for k in draws.kernels(16, 151936, "cuda", filters, has)]
    results = nvrtc([render("cuda", kernel) for kernel in made], arch)
    for kernel, found in zip(made, results, strict=True):
        assert not found["error"], kernel.name
        assert found["spilled"] <= 32, kernel.name
        assert found["shared"] <= 16 * 1024, kernel.name


# The room, what is written in place of what, and what the player says, or whose bits tell.
MISTAKES = {
    "a key": ("highest", "bits & 0x80000000u ? ~bits", "bits & 0x80000000u ? bits", ""),
    "zeros": ("keep", "if (bits == 0x80000000u) return bits;", "", ""),
    "a power": ("weigh", "POWERS[n & 15]", "POWERS[n & 7]", ""),
    "a factor": ("weigh", "REAL(C2)", "REAL(C3)", ""),
    "a rounding": ("weigh", "digits + up", "digits", ""),
    "a tie": ("weigh", "(digits & 1)", "0", ""),
    "a carry": ("weigh", "(middle & low);", "middle;", ""),
    "an edge": ("keep", "(limit - above) / unit", "(limit - above) / unit + 1", ""),
    "more": ("keep", "found[THREADS] > limit   ?", "found[THREADS] >= limit   ?", ""),
    "equals": ("keep", "key == edge && id <= last", "key == edge", ""),
    "the last": ("take", "key == edge && id <= last", "key == edge && id < last", ""),
    "a sum": ("keep", "before + COUNTED(id) <= sought", "before + COUNTED(id) < sought", ""),
    "a barrier": ("take", "found[THREAD] = own;\n    BARRIER;", "found[THREAD] = own;", "race"),
    "beyond": ("highest", "MIN(((part) + 1) * PART, SIZE)", "((part) + 1) * PART", "outside"),
}


@pytest.mark.slow
@pytest.mark.parametrize("dialect", ["metal"])
@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_in_a_draw_is_seen(run, dialect, mistake):
    *words, seen = MISTAKES[mistake]
    with pytest.raises(Misplayed if seen else AssertionError, match=seen or None):
        check_any(run, dialect, words)


def check_any(run, dialect, mistake):
    """Check draws from several kinds of logits, none of which is left to the formula."""
    kept = [filters for filters in SAMPLERS if filters or mistake[0] != "keep"]
    for kind, filters in product(("any", "equals", "zeros", "flat"), kept):
        assert not left_of(run, dialect, kind, 1009, filters, mistake)
