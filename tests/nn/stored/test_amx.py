"""Intel's matrix unit gives the bits of the vector instructions. Skipped where there is none."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest
from block_formats import blocks, depth_of, each
from processors import kernel_of, normal, run_here
from tinygrad import Tensor

from edifice_tt.nn.cpu import instructions, kernels
from edifice_tt.nn.stored.int8 import KINDS, Int8Linear, group_rows

ALLOWED = "#define AMX_ALLOWED 1"


@pytest.fixture
def with_amx():
    if "AMX" not in instructions.in_use():
        pytest.skip("this processor has no AMX, or its system hands none out")


def both_ways(monkeypatch, folder, layer, x, right="", wrong=""):
    """The product by the unit, of a source with a mistake in it, and by vector instructions."""
    kernel = kernel_of(monkeypatch, lambda: layer(Tensor(x)))
    assert ALLOWED in kernel.source
    assert right in kernel.source
    plain = kernel.source.replace(ALLOWED, "#define AMX_ALLOWED 0")
    unit = kernel.source.replace(right, wrong) if right else kernel.source
    return [
        run_here(kernel._replace(source=source), "", folder).copy().view(np.int32)
        for source in (unit, plain)
    ]


def layer_of(rng, kind, columns, depth):
    raw = blocks(rng, kind, columns, depth)
    return Int8Linear(Tensor(group_rows(raw, kind)), kind, columns)


@pytest.mark.slow
@pytest.mark.parametrize("kind", each(KINDS))
@pytest.mark.parametrize("rows", [16, 15 + 32, kernels.GROUP + 17])
def test_each_format_has_the_same_bits(rng, with_amx, kind, rows, tmp_path, monkeypatch):
    """Of 29 columns, which end within a group."""
    depth = depth_of(kind)
    x = normal(rng, rows, depth)
    x[3], x[5, 32:64] = 0, 1e-35
    unit, plain = both_ways(monkeypatch, tmp_path, layer_of(rng, kind, 29, depth), x)
    assert (unit == plain).all()


@pytest.mark.slow
@pytest.mark.parametrize("blocks_of_32", [1, 2, 3, 31, 32, 57])
def test_any_depth_has_the_same_bits(rng, with_amx, blocks_of_32, tmp_path, monkeypatch):
    depth = 32 * blocks_of_32
    layer = layer_of(rng, "Q5_0", 16, depth)
    unit, plain = both_ways(monkeypatch, tmp_path, layer, normal(rng, 33, depth))
    assert (unit == plain).all()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "right", "wrong"),
    [
        ("Q4_1", "all * scale + w->scales[32 / g.run + half] * sum", "all * scale"),
        ("Q5_0", "tdpbssd(whole, 4, 6)", "tdpbsud(whole, 4, 6)"),
        ("Q6_K", "y = half ? y + all : all", "y = all"),
        ("Q5_0", "x + m + k / 32 * stride", "x + m"),
    ],
)
def test_a_mistake_is_seen(rng, with_amx, kind, right, wrong, tmp_path, monkeypatch):
    depth = 1536  # unpacked in two stretches
    layer, x = layer_of(rng, kind, 16, depth), normal(rng, 16, depth)
    unit, plain = both_ways(monkeypatch, tmp_path, layer, x, right, wrong)
    assert (unit != plain).any()


@pytest.mark.parametrize(
    "system",
    [{"platform": "darwin"}, {"platform": "win32"}, {"machine": "aarch64"}, {"answer": -1}],
)
def test_without_permission_there_is_none(monkeypatch, system):
    monkeypatch.setattr(sys, "platform", system.get("platform", "linux"))
    monkeypatch.setattr(instructions.platform, "machine", lambda: system.get("machine", "x86_64"))
    library = SimpleNamespace(syscall=lambda *numbers: system.get("answer", 0))
    monkeypatch.setattr(instructions.ctypes, "CDLL", lambda name: library)
    assert not instructions.allows_amx.__wrapped__()
