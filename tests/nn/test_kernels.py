"""The C kernels: equal to their formulas at any size, the same bits in any batch, on any processor.

`source_of` catches the source that a call would compile, so that the branches for processors other
than this one can be compiled and run as well.
"""

import ctypes
import subprocess

import numpy as np
import pytest
from tinygrad import Tensor

from edifice_tt.nn import cpu, ops, quantized
from edifice_tt.nn.ops import Memory
from edifice_tt.toolchain import prepare_compiler

# rows, columns, depth: one of everything, primes, and multiples of every tile and vector
SHAPES = [(1, 1, 1), (2, 3, 5), (7, 13, 37), (8, 3, 16), (17, 29, 48), (24, 12, 33)]
OTHERS = ("-mavx2 -mfma -mno-avx512f", "-mno-avx2 -mno-avx512f -mno-fma")


def normal(rng, *shape):
    return rng.standard_normal(shape).astype(np.float32)


def source_of(monkeypatch, call):
    caught = []
    monkeypatch.setattr(cpu, "call", lambda name, source, out, *_: caught.append(source) or out)
    call()
    return caught[0]


@pytest.mark.parametrize(("rows", "columns", "depth"), SHAPES)
@pytest.mark.parametrize("biased", [True, False])
def test_linear_equals_its_formula(rng, rows, columns, depth, biased):
    x, w = Tensor(normal(rng, rows, depth)), Tensor(normal(rng, columns, depth))
    b = Tensor(normal(rng, columns)) if biased else None
    assert cpu.serves(x, w, b)
    expected = x.numpy().astype(np.float64) @ w.numpy().T + (b.numpy() if biased else 0)
    assert ops.linear(x, w, b).numpy() == pytest.approx(expected, abs=1e-5)
    assert ops.linear_formula(x, w, b).numpy() == pytest.approx(expected, abs=1e-5)


def test_a_row_is_the_same_bits_alone_and_in_any_batch(rng):
    x, w, b = normal(rng, 19, 37), Tensor(normal(rng, 13, 37)), Tensor(normal(rng, 13))
    together = ops.linear(Tensor(x), w, b).numpy()
    for rows in (1, 2, 5, 8, 9):
        assert (ops.linear(Tensor(x[-rows:]), w, b).numpy() == together[-rows:]).all()


def test_the_gradient_of_linear_is_that_of_its_formula(rng):
    arrays = [normal(rng, 3, 5, 7), normal(rng, 11, 7), normal(rng, 11)]
    gradients = []
    for function in (ops.linear, ops.linear_formula):
        tensors = [Tensor(array) for array in arrays]
        function(*tensors).square().sum().backward()
        gradients.append([tensor.grad.numpy() for tensor in tensors])
    for ours, formula in zip(*gradients, strict=True):
        assert ours == pytest.approx(formula, rel=1e-4, abs=1e-4)
        assert np.abs(ours).max() > 1


def memories(rng, rows, size=6):
    """A prompt of 5 of 7 positions for all, and tails of 2, 3 and 4 of 4 positions."""
    shared, own = normal(rng, 2, 1, 7, 2, size), normal(rng, 2, rows, 4, 2, size)
    counts = [Tensor(np.array(n, dtype=np.int32)) for n in ([5], [2, 3, 4])]
    return [Memory(Tensor(kv), n) for kv, n in zip((shared, own), counts, strict=True)]


@pytest.mark.parametrize("size", [2, 16, 22])
def test_attention_equals_its_formula(rng, size):
    q, both = Tensor(normal(rng, 3, 3, 4, size)), memories(rng, 3, size)
    assert cpu.serves(q, *(memory.kv for memory in both))
    expected = ops.attention_formula(q, both).numpy()
    assert ops.attention(q, both).numpy() == pytest.approx(expected, abs=1e-6)


def test_attention_survives_extreme_scores(rng):
    """Scores of +-1e4: a softmax without its maximum taken off would be NaN or zero."""
    q = normal(rng, 1, 1, 2, 16) * 100
    kv = normal(rng, 2, 1, 5, 1, 16) * 100
    memory = [Memory(Tensor(kv), Tensor(np.array([5], dtype=np.int32)))]
    expected = ops.attention_formula(Tensor(q), memory).numpy()
    assert np.isfinite(expected).all()
    assert ops.attention(Tensor(q), memory).numpy() == pytest.approx(expected, rel=1e-4)


def test_a_candidate_s_attention_is_the_same_bits_alone_and_in_a_batch(rng):
    q, both = normal(rng, 3, 3, 4, 16), memories(rng, 3, 16)
    together = ops.attention(Tensor(q), both).numpy()
    for row in range(3):
        own = Memory(both[1].kv[:, row : row + 1].contiguous(), both[1].seen)
        alone = ops.attention(Tensor(q[row : row + 1]), [both[0], own]).numpy()
        assert (alone[0] == together[row]).all()


def test_the_gradient_of_attention_is_that_of_its_formula(rng):
    q, kv = normal(rng, 2, 3, 4, 6), normal(rng, 2, 2, 3, 2, 6)
    gradients = []
    for function in (ops.attention, ops.attention_formula):
        tensors = [Tensor(q), Tensor(kv)]
        seen = Tensor(np.array([1, 2, 3], dtype=np.int32))
        function(tensors[0], [Memory(tensors[1], seen)]).square().sum().backward()
        gradients.append([tensor.grad.numpy() for tensor in tensors])
    for ours, formula in zip(*gradients, strict=True):
        assert ours == pytest.approx(formula, rel=1e-4, abs=1e-5)
        assert np.abs(ours).max() > 0.1


def blocks(rng, kind, columns, depth):
    """Random blocks, their scales small and finite."""
    size = quantized.KINDS[kind].block_bytes
    raw = rng.integers(0, 256, (columns, depth // 32, size), dtype=np.uint8)
    scales = 4 if kind == "Q4_1" else 2
    values = (rng.standard_normal((columns, depth // 32, scales // 2)) / 10).astype(np.float16)
    raw[:, :, :scales] = values.view(np.uint8)
    return raw.reshape(columns, -1)


@pytest.mark.parametrize("kind", quantized.KINDS)
@pytest.mark.parametrize("rows", [1, 7, 11])
def test_quantised_weights_give_the_bits_of_the_float32_weights_they_stand_for(rng, kind, rows):
    layer = quantized.QuantizedLinear(Tensor(blocks(rng, kind, 13, 96)), kind)
    floats = quantized.dequantize(layer.blocks, kind).realize()
    x = Tensor(normal(rng, rows, 96))
    assert (layer(x).numpy() == ops.linear(x, floats).numpy()).all()
    expected = x.numpy().astype(np.float64) @ floats.numpy().T
    assert quantized._FORMULAS[kind](x, layer.blocks).numpy() == pytest.approx(expected, abs=1e-4)
    picked = layer.rows(Tensor([[12, 0, 5]])).numpy()
    assert (picked == floats.numpy()[[[12, 0, 5]]]).all()


def test_quantised_blocks_are_read_as_the_format_defines(rng):
    """Q4_1: half scale, half minimum, 16 bytes; the low nibbles are the first 16 weights."""
    row = blocks(rng, "Q4_1", 1, 32)
    d, m = row[0, :4].view(np.float16).astype(np.float32)
    nibbles = np.concatenate([row[0, 4:] & 15, row[0, 4:] >> 4])
    expected = nibbles.astype(np.float32) * d + m
    assert (quantized.dequantize(Tensor(row), "Q4_1").numpy()[0] == expected).all()
    unit = Tensor(np.eye(32, dtype=np.float32))
    layer = quantized.QuantizedLinear(Tensor(row), "Q4_1")
    assert layer(unit).numpy()[:, 0] == pytest.approx(expected, abs=1e-7)


@pytest.mark.parametrize("flags", OTHERS)
def test_the_branches_for_other_x86_processors_compute_the_same(rng, flags, tmp_path, monkeypatch):
    x, w, b = (normal(rng, *shape) for shape in ((7, 37), (13, 37), (13,)))
    source = source_of(monkeypatch, lambda: ops.linear(Tensor(x), Tensor(w), Tensor(b)))
    out = np.zeros((7, 13), np.float32)
    run(build(tmp_path, source, flags), "linear_7_13_37_bias", out, x, w, b)
    assert out == pytest.approx(x.astype(np.float64) @ w.T + b, abs=1e-5)

    raw = blocks(rng, "Q4_1", 13, 96)
    layer, x = quantized.QuantizedLinear(Tensor(raw), "Q4_1"), normal(rng, 7, 96)
    expected = x @ quantized.dequantize(layer.blocks, "Q4_1").numpy().T
    source = source_of(monkeypatch, lambda: layer(Tensor(x)))
    run(build(tmp_path, source, flags), "linear_7_13_96_Q4_1", out, x, raw)
    assert out == pytest.approx(expected, abs=1e-4)

    q, both = normal(rng, 3, 3, 4, 22), memories(rng, 3, 22)
    expected = ops.attention_formula(Tensor(q), both).numpy()
    source = source_of(monkeypatch, lambda: ops.attention(Tensor(q), both))
    name = "attention_3_3_4_22_1_7_2_3_4_2_1_3"
    out = np.zeros_like(q)
    arrays = [m.kv.numpy() for m in both] + [m.seen.numpy() for m in both]
    run(build(tmp_path, source, flags), name, out, q, *arrays)
    assert out == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("target", ["aarch64-linux-gnu", "arm64-apple-macos14"])
def test_the_branch_for_arm_compiles(rng, target, tmp_path, monkeypatch):
    """Compiled and not run: there is no such processor here."""
    clang = prepare_compiler()
    targets = subprocess.run([clang, "--print-targets"], capture_output=True, text=True, check=True)
    if "aarch64" not in targets.stdout:
        pytest.skip("this clang has no back end for Arm")
    x, w = Tensor(normal(rng, 7, 37)), Tensor(normal(rng, 13, 37))
    q, both = Tensor(normal(rng, 3, 3, 4, 22)), memories(rng, 3, 22)
    layer = quantized.QuantizedLinear(Tensor(blocks(rng, "Q4_1", 13, 96)), "Q4_1")
    wide = Tensor(normal(rng, 7, 96))
    for call in (
        lambda: ops.linear(x, w),
        lambda: ops.attention(q, both),
        lambda: layer(wide),
    ):
        source = source_of(monkeypatch, call)
        build(tmp_path, source, f"--target={target} -mcpu=apple-m1 -nostdlib -c")


def build(folder, source, flags):
    """Compile as tinygrad does, warnings being errors; returns the path."""
    out = folder / f"{abs(hash((source, flags)))}.so"
    command = [prepare_compiler(), "-x", "c", "-O2", "-fPIC", "-ffreestanding", "-Werror"]
    command += ["-fno-math-errno", "-nostdlib", "-march=native", "-shared"]
    if "--target" in flags:
        command = [part for part in command if part not in ("-march=native", "-shared")]
    command += [*flags.split(), "-", "-o", str(out)]
    done = subprocess.run(command, input=source, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return out


def run(library, name, *arrays):
    getattr(ctypes.CDLL(str(library)), name)(
        *(
            np.ascontiguousarray(a).ctypes.data_as(ctypes.c_void_p)
            if i
            else a.ctypes.data_as(ctypes.c_void_p)
            for i, a in enumerate(arrays)
        )
    )


def test_what_the_kernels_cannot_serve_takes_the_formula(rng):
    w = Tensor(normal(rng, 3, 4))
    assert not cpu.serves(Tensor(normal(rng, 2, 4)).half(), w)
    assert not cpu.serves(Tensor(normal(rng, 2, 4)).to("CPU:1"), w)
    assert not cpu.serves(Tensor(normal(rng, 2, 4)).to("PYTHON"))
    halves = ops.linear(Tensor(normal(rng, 2, 4)).half(), w.half())
    assert halves.dtype.name == "half"
