"""Draws in C: what the formula draws, with the bits of its log-probability, on any processor."""

import threading
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from unittest.mock import Mock

import numpy as np
import pytest
from gpu_draws import spread
from processors import ARM, Kernel, left_to_helpers, run_here, run_on_arm
from test_kernels import OTHERS

from edifice_tt.contract.errors import ToolchainError
from edifice_tt.nn import exponentials
from edifice_tt.nn.cpu import draws
from edifice_tt.nn.cpu.team import gather, led
from edifice_tt.sampling.draws import Sampler

SETTINGS = [
    Sampler(*settings)
    for settings in (
        *((0.0,), (0.8,), (1.0,), (0.01,), (50.0,), (0.8, 1), (0.8, 20), (1.0, 300), (3.0, 7)),
        *((0.8, 0, 0.9), (1.0, 0, 0.999), (2.0, 0, 0.3), (0.7, 40, 0.95), (1.0, 500, 0.5)),
    )
]


def drawn_in_c(sampler, logits, index, position):
    """What the C has drawn itself: a token, or -1."""
    found = sampler.draw(logits, index, position)
    return found, draws.drawing(logits).request.token


@pytest.mark.parametrize(
    "kind", ["any", "flat", "equals", "all equal", "near", "forbidden", "huge"]
)
@pytest.mark.parametrize("size", [1, 2, 97, 1009, 6007])
def test_c_draws_what_the_formula_draws_with_its_bits(kind, size):
    rng = np.random.default_rng(size)
    for at, sampler in enumerate(SETTINGS):
        logits = spread(rng, kind, size)
        for position in range(3):
            found, _ = drawn_in_c(sampler, logits, at, position)
            assert found == sampler.draw_by_formula(logits, at, position)


def test_c_leaves_few_draws_to_the_formula():
    rng = np.random.default_rng(5)
    count = 0
    for sampler, position in product(SETTINGS, range(20)):
        count += drawn_in_c(sampler, spread(rng, "any", 6007), 2, position)[1] < 0
    assert count < 20 * len(SETTINGS) / 50


def test_the_number_is_the_generators_at_any_place():
    """Of equal tokens the one is drawn that the number says, to one in 60,000."""
    logits = np.zeros(60_013, np.float32)
    for place in product([0, 12345, 2**63, 2**64 - 1], [0, 10**6], [0, 1, 10**6]):
        sampler = Sampler(1.0, seed=place[0])
        found, in_c = drawn_in_c(sampler, logits, *place[1:])
        assert found[0] == in_c
        assert found == sampler.draw_by_formula(logits, *place[1:])


def test_a_number_at_a_boundary_is_left_to_the_formula(tmp_path):
    """Two equal halves: what is next to 1/2 is nearer to the boundary than rounding can tell."""
    drawn = "return (x[0] >> 11) * 0x1p-53;"
    numbers = {0.0: -1, 0.4999: 0, 0.5 - 1e-12: -1, 0.5: -1, 0.5 + 1e-12: -1, 0.5001: 1}
    listed = f"const double numbers[] = {{{', '.join(map(str, numbers))}}}; return numbers[index];"
    assert drawn in draws.source()
    source = draws.source().replace(drawn, listed)
    kernel = as_kernel([Sampler(1.0)] * len(numbers), np.zeros(2, np.float32), source)
    found = run_here(kernel, "", tmp_path).view(np.int64)[:, 0]
    assert found.tolist() == list(numbers.values())


# --- other processors


DRAWING = """
  for (long i = 0; i < count[0]; i++) {
    const double *s = settings + 3 * i;
    request r = {logits, size[0], room, s[0], s[1], s[2], 7, i, 3, .team = (team *)by[0]};
    draw_one(&r);
    found[3 * i] = r.token;
    found[3 * i + 1] = r.total[0];
    found[3 * i + 2] = r.total[1];
  }
}
"""


def as_kernel(samplers, logits, source=None, team=0):
    """The draws of some settings, one after another, as a kernel that is told no address."""
    names = ("long *found", "const float *logits", "const double *settings", "char *room")
    sizes = ("const long *count", "const long *size", "const long *by")
    head = f"WIDE void draw_all({', '.join([*names, *sizes])}) {{"
    settings = np.array([[s.temperature, s.top_p, s.top_k] for s in samplers], np.float64)
    room = np.zeros(17 * (len(logits) + 2 * draws.STRETCH), np.uint8)
    numbers = (len(samplers), len(logits), team)
    return Kernel(
        "draw_all",
        f"{source or draws.source()}\n{head}{DRAWING}",
        [np.zeros((len(samplers), 6), np.float32)],  # for numbers of twice as many bits
        [logits, settings, room, *(np.array([number]) for number in numbers)],
    )


def check(samplers, logits, found):
    """Every sum is that of the formula, and what was drawn; returns how many were drawn."""
    found = found.view(np.int64).copy()
    exact = logits.astype(np.float64) - logits.max()
    total = exponentials.total(exact)
    assert (found[:, 1].view(np.uint64) == total % 2**64).all()
    assert (found[:, 2] == total >> 64).all()
    drawn = found[:, 0] >= 0
    for at in np.flatnonzero(drawn):
        sampler = Sampler(**{**vars(samplers[at]), "seed": 7})
        assert sampler.draw_by_formula(logits, at, 3)[0] == found[at, 0]
    return np.count_nonzero(drawn)


def check_any(source, folder, flags=""):
    """Check many draws, also of equals at the edges of filters."""
    samplers, rng = SETTINGS * 20, np.random.default_rng(11)
    tied = np.minimum(spread(rng, "equals", 6007), 9)
    for logits in (spread(rng, "any", 6007), tied, spread(rng, "flat", 6007)):
        found = run_here(as_kernel(samplers, logits, source), flags, folder)
        assert check(samplers, logits, found) > 0.8 * len(samplers)


@pytest.mark.slow
@pytest.mark.parametrize("flags", ["", *OTHERS])
def test_every_width_of_vectors_has_the_bits_of_the_formula(flags, tmp_path):
    check_any(draws.source(), tmp_path, flags)


@pytest.mark.slow
@pytest.mark.parametrize("target", ARM)
def test_arm_has_the_bits_of_the_formula(target, tmp_path):
    pytest.importorskip("ziglang")
    logits = spread(np.random.default_rng(3), "any", 6007)
    found = run_on_arm(as_kernel(SETTINGS, logits), target, tmp_path)
    assert found is None or check(SETTINGS, logits, found) >= len(SETTINGS) - 2


@pytest.mark.slow
@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("  p = p * r + C2;\n", ""),
        ("#pragma STDC FP_CONTRACT OFF\n", "#pragma clang fp contract(fast)\n"),
        ("at.equals-- <= 0", "0"),
        ("number * sum, &before", "number * sum * 0.999, &before"),
        ("0xBB67AE8584CAA73B", "0xBB67AE8584CAA73D"),
        ("wanted - 0.5", "wanted + 0.5"),
        ("d->of->top_p * sum", "d->of->top_p * sum * 0.99"),
        ("0.24022349f", "0.25f"),
        ("(d->stretches + PART - 1) / PART", "d->stretches / PART"),
    ],
)
def test_a_wrong_draw_would_be_seen(right, wrong, tmp_path):
    source = draws.source()
    assert right in source
    with pytest.raises(AssertionError):
        check_any(source.replace(right, wrong), tmp_path)


# --- a team


def test_helpers_draw_what_one_thread_draws(tmp_path):
    """They do every part, as the leader waits."""
    logits = spread(np.random.default_rng(6), "any", 60_013)
    alone = run_here(as_kernel(SETTINGS, logits), "", tmp_path).copy()
    with gather(3) as team, team:
        kernel = as_kernel(SETTINGS, logits, left_to_helpers(draws.source()), team.pointer)
        assert run_here(kernel, "", tmp_path).tobytes() == alone.tobytes()
    assert check(SETTINGS, logits, alone) >= len(SETTINGS) - 2


def test_a_thread_draws_with_the_team_that_it_leads():
    logits = spread(np.random.default_rng(6), "any", 60_013)
    used, found = [], []

    def draw():
        found.append(Sampler().draw(logits, 0, 1))
        used.append(draws.drawing(logits).request.team)

    draw()
    with gather(3) as outer:
        draw()
        with gather(2) as inner, inner:
            draw()
        assert led() is outer
        with ThreadPoolExecutor(1) as pool:
            pool.submit(draw).result()
    draw()
    assert used == [None, outer.pointer, inner.pointer, None, None]
    assert set(found) == {Sampler().draw_by_formula(logits, 0, 1)}


# --- what the formula draws


@pytest.mark.parametrize(
    "logits",
    [np.zeros(7), np.zeros(14, np.float32)[::2], np.zeros(0, np.float32)],
    ids=["float64", "not in one piece", "none"],
)
def test_what_c_cannot_read_takes_the_formula(logits):
    assert draws.drawing(logits) is None


def test_an_index_may_be_a_number_of_numpys():
    logits = np.zeros(97, np.float32)
    assert Sampler().draw(logits, np.int64(3), np.int32(5)) == Sampler().draw(logits, 3, 5)


def test_without_a_compiler_the_draws_are_the_same(monkeypatch):
    rng = np.random.default_rng(2)
    logits = [spread(rng, "any", 97) for _ in SETTINGS]
    expected = [s.draw(row, 3, 5) for s, row in zip(SETTINGS, logits, strict=True)]
    monkeypatch.setattr(draws, "prepare_compiler", Mock(side_effect=ToolchainError("no clang")))
    monkeypatch.setattr(draws, "_of_thread", threading.local())
    draws._program.cache_clear()
    assert draws.drawing(logits[0]) is None
    assert [s.draw(row, 3, 5) for s, row in zip(SETTINGS, logits, strict=True)] == expected
    draws._program.cache_clear()


def test_c_that_does_not_compile_is_told_and_the_formula_draws(monkeypatch):
    logits = spread(np.random.default_rng(2), "any", 97)
    expected = Sampler().draw(logits, 3, 5)
    monkeypatch.setattr(draws, "capture", Mock(side_effect=RuntimeError("a name stands twice")))
    monkeypatch.setattr(draws, "_of_thread", threading.local())
    draws._program.cache_clear()
    with pytest.warns(RuntimeWarning, match="draws are not compiled.*: a name stands twice"):
        assert Sampler().draw(logits, 3, 5) == expected
    draws._program.cache_clear()


def test_threads_that_draw_at_once_do_not_mix():
    rng = np.random.default_rng(4)
    rows = [spread(rng, "any", size) for size in (97, 6007, 1009, 211)]

    def draw(row):
        return [SETTINGS[1].draw(row, 0, position) for position in range(50)]

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(draw, rows)) == [draw(row) for row in rows]
