"""The C kernels: equal to their formulas at any size, the same bits in any batch, on any processor.

`kernel_of` catches what a call would compile, so that the branches for processors other than this
one can be compiled and run as well.
"""

from functools import partial

import numpy as np
import processors
import pytest
from block_formats import blocks, depth_of, each, floats, scales_at, with_scales
from processors import ARM, kernel_of, normal, run_here, run_on_arm
from tinygrad import Tensor, dtypes
from tinygrad.nn.state import get_parameters

from edifice_tt.nn import ops
from edifice_tt.nn.backbone import Backbone
from edifice_tt.nn.cache import KVCache, count_up
from edifice_tt.nn.config import BackboneConfig
from edifice_tt.nn.cpu import bridge as cpu
from edifice_tt.nn.cpu import kernels
from edifice_tt.nn.formats import FORMATS
from edifice_tt.nn.kept import kept_size, narrow, rounded, widen
from edifice_tt.nn.ops import Memory
from edifice_tt.nn.stored import blocks as quantized

# rows, columns, depth: one of everything, primes, and multiples of every tile and vector
SHAPES = [(1, 1, 1), (2, 3, 5), (7, 13, 37), (8, 3, 16), (17, 29, 48), (24, 12, 33)]
OTHERS = ("-mavx2 -mfma -mno-avx512f", "-mno-avx2 -mno-avx512f -mno-fma")


@pytest.mark.parametrize(("rows", "columns", "depth"), SHAPES)
@pytest.mark.parametrize("biased", [True, pytest.param(False, marks=pytest.mark.slow)])
@pytest.mark.first(3)
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


@pytest.mark.parametrize("size", [*(pytest.param(n, marks=pytest.mark.slow) for n in (2, 16)), 22])
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


def rounded_memories(both, kept=dtypes.float16):
    """Memories as they are kept, and the floats that these stand for."""
    E = int(both[0].kv.shape[-1])
    stored = [Memory(narrow(memory.kv, kept).realize(), memory.seen) for memory in both]
    return stored, [Memory(widen(m.kv, E).float().realize(), m.seen) for m in stored]


@pytest.mark.slow
@pytest.mark.parametrize("kept", [dtypes.float16, dtypes.int8])
@pytest.mark.parametrize("size", [22, 64])
def test_what_is_kept_is_read_as_the_floats_that_it_stands_for(rng, size, kept):
    """Of 70 positions, which are more than become floats at a time, and of 4.

    Halves to the bit; keys of 8 bits meet rounded queries, and their sums are exact.
    """
    q = Tensor(normal(rng, 3, 3, 4, size))
    shared = Memory(Tensor(normal(rng, 2, 1, 71, 2, size)), Tensor(np.array([70], dtype=np.int32)))
    stored, as_floats = rounded_memories([shared, memories(rng, 3, size)[1]], kept)
    found = ops.attention(q, stored).numpy()
    if kept == dtypes.float16:
        assert (found == ops.attention(q, as_floats).numpy()).all()
    else:
        exact = ops.attention(rounded(q), as_floats).numpy()
        assert found == pytest.approx(exact, abs=1e-6)
    assert found == pytest.approx(ops.attention_formula(q, stored).numpy(), abs=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("kept", [dtypes.float32, dtypes.float16, dtypes.int8])
def test_a_query_has_the_same_bits_alone_and_among_many_that_read_a_copy(rng, kept):
    """Keys of 2048 bytes a position, which as floats are copied for eight queries and more."""
    q, kv = normal(rng, 1, 9, 8, 64), narrow(Tensor(normal(rng, 2, 1, 50, 8, 64)), kept).realize()
    seen = np.arange(40, 49, dtype=np.int32)
    together = ops.attention(Tensor(q), [Memory(kv, Tensor(seen))]).numpy()
    for t in (0, 5, 8):
        own = Memory(kv, Tensor(seen[t : t + 1]))
        assert (
            ops.attention(Tensor(q[:, t : t + 1]), [own]).numpy() == together[:, t : t + 1]
        ).all()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kept", "right", "wrong"),
    [
        (dtypes.float16, "room + s * E, from + s * stride, E)", "room + s * E, from + s * E, E)"),
        (
            dtypes.float16,
            "for (; k < size; k++) out[k] = floats_of",
            "for (; k < size - 1; k++) out[k] = floats_of",
        ),
        (dtypes.float16, "mix_of(out, p + s, width", "mix_of(out, p, width"),
        (dtypes.int8, "head + size + k / SCALED * 2", "head + size"),
        (dtypes.int8, "scales[b + 2 * i + 1] =", "scales[b + 2 * i + 1] = scales[b] +"),
        (dtypes.int8, "MIN(4 * n + i, last)", "MIN(4 * i + n, last)"),
        (dtypes.int8, "+= (CONVERT(s[r]) - OFFSET", "+= (CONVERT(s[r]) - OFFSET / 2"),
        (dtypes.int8, "MIN(8 * b + 8, (E + 15) / 16 * 4)", "8 * b + 4"),
        (dtypes.int8, "low * stride + g * of_head", "low * stride + g * E"),
    ],
)
def test_a_wrong_reading_of_what_is_kept_would_be_seen(
    rng, kept, right, wrong, tmp_path, monkeypatch
):
    q = Tensor(normal(rng, 3, 3, 4, 38))
    shared = Memory(Tensor(normal(rng, 2, 1, 71, 2, 38)), Tensor(np.array([70], dtype=np.int32)))
    stored, _ = rounded_memories([shared, memories(rng, 3, 38)[1]], kept)
    kernel = kernel_of(monkeypatch, lambda: ops.attention(q, stored))
    assert right in kernel.source
    found = run_here(kernel._replace(source=kernel.source.replace(right, wrong)), "", tmp_path)
    off = np.abs(found - ops.attention_formula(q, stored).numpy())
    assert not (off < 1e-3).all()  # also where it is NaN


@pytest.mark.slow
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


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "rows"), [("Q4_1", 11), *each(FORMATS, 1), *each(FORMATS, 7)])
def test_quantised_weights_give_the_bits_of_the_float32_weights_they_stand_for(rng, kind, rows):
    raw = blocks(rng, kind, 13, depth_of(kind))
    layer, expected = quantized.QuantizedLinear(Tensor(raw), kind), floats(raw, kind)
    x = Tensor(normal(rng, rows, depth_of(kind)))
    assert (layer(x).numpy() == ops.linear(x, Tensor(expected)).numpy()).all()
    picked = layer.rows(Tensor([[12, 0, 5]])).numpy()
    assert (picked == expected[[[12, 0, 5]]]).all()
    assert (layer.floats().numpy() == expected).all()
    formula = layer.formula(x, layer.blocks).numpy()
    exact = x.numpy().astype(np.float64) @ expected.T
    assert formula == pytest.approx(exact, abs=1e-5 * np.abs(exact).max())


@pytest.mark.parametrize("kind", ["Q5_0", "Q6_K"])
def test_deep_weights_are_unpacked_in_pieces_and_the_bits_are_those_of_the_whole(rng, kind):
    """Two pieces and the beginning of a third."""
    raw = blocks(rng, kind, 13, 7 * 256)
    layer, expected = quantized.QuantizedLinear(Tensor(raw), kind), Tensor(floats(raw, kind))
    for rows in (1, 2, 4, 8):
        x = Tensor(normal(rng, rows, 7 * 256))
        assert (layer(x).numpy() == ops.linear(x, expected).numpy()).all()


@pytest.mark.parametrize(
    ("kind", "subs"),
    [
        pytest.param("Q2_K", (0, 1, 7, 8, 15), marks=pytest.mark.slow),
        ("Q3_K", (-32, -1, 0, 15, 31)),
        pytest.param("Q4_K", (0, 1, 31, 32, 63), marks=pytest.mark.slow),
        pytest.param("Q5_K", (0, 1, 31, 32, 63), marks=pytest.mark.slow),
        ("Q6_K", (0, 1, 127, 128, 255)),
        pytest.param("IQ4_XS", (-32, -1, 0, 15, 31), marks=pytest.mark.slow),
    ],
)
def test_the_extremes_of_scales_within_a_block_are_exact(rng, kind, subs):
    """With the least and the largest float of 16 bits."""
    rows = [
        with_scales(blocks(rng, kind, 1, 256), kind, scale, -0.75 * scale, sub)
        for sub in subs
        for scale in (2.0**-24, -65504.0)
    ]
    raw = np.concatenate(rows)
    layer, expected = quantized.QuantizedLinear(Tensor(raw), kind), floats(raw, kind)
    assert np.isfinite(expected).all()
    assert (layer.rows(Tensor([list(range(10))])).numpy()[0] == expected).all()
    assert (layer.floats().numpy() == expected).all()


def test_the_exponents_of_a_block_are_read_down_to_the_least_float(rng):
    raw = blocks(rng, "MXFP4", 253, 32).reshape(253, 17)
    raw[:, 0] = np.arange(253)
    layer, expected = quantized.QuantizedLinear(Tensor(raw), "MXFP4"), floats(raw, "MXFP4")
    assert (expected[:2] != 0).any()
    assert np.isfinite(expected).all()
    assert (layer.rows(Tensor([list(range(253))])).numpy()[0] == expected).all()


@pytest.mark.parametrize("kind", each(FORMATS))
def test_every_scale_of_a_block_is_looked_at(rng, kind):
    """NaN in each of them is found, and in nothing else of the block."""
    raw = blocks(rng, kind, 1, depth_of(kind))
    assert np.isfinite(FORMATS[kind].scales_of(raw).astype(np.float32)).all()
    size = raw.shape[1] // 3
    start, stop = (0, size) if FORMATS[kind].dtype else scales_at(kind)
    for at in range(size + start, size + stop, 2):
        damaged = raw.copy()
        damaged[0, at : at + 2] = 255
        assert not np.isfinite(FORMATS[kind].scales_of(damaged).astype(np.float32)).all()
        assert not np.isfinite(FORMATS[kind].dequantize(Tensor(damaged)).numpy()).all()


# Columns that are whole vectors of any processor, four at a time and one, and some that are left.
RECURRENT = {"recurrent_layers": (0,), "delta_key_heads": 2, "delta_value_heads": 6}
RECURRENT |= {"delta_key_size": 7, "delta_value_size": 87, "delta_conv": 4}


def layer_and_input(rng, B, T, **options):
    """A layer of prime-ish sizes: 2 of 6 heads hold keys, and no size is a multiple of a vector."""
    sizes = {"hidden_size": 42, "num_layers": 1, "num_heads": 6, "num_kv_heads": 2, "ffn_size": 37}
    config = BackboneConfig(**{**sizes, "head_dim": 10, **options})
    backbone = Backbone(config, np.random.default_rng(5))
    x = Tensor(normal(rng, B, T, config.hidden_size)).realize()
    return backbone.blocks[0], x, backbone.rotations(0, 64, "CPU"), [count_up(1, T, "CPU")]


@pytest.mark.slow
@pytest.mark.parametrize(("B", "T"), [(1, 1), (2, 7), (3, 70)])  # 70: more than a group of rows
@pytest.mark.parametrize("head_dim", [10, 64])
def test_a_whole_layer_equals_its_formula(rng, B, T, head_dim):
    block, x, tables, seen = layer_and_input(rng, B, T, head_dim=head_dim)
    tables = Backbone(block.config).rotations(0, 128, "CPU")
    assert block.is_one_kernel(x)
    expected = block._formula(x, tables, seen, None, 0).numpy()
    assert block(x, tables, seen).numpy() == pytest.approx(expected, abs=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(("kept", "near"), [("float32", 1e-5), ("float16", 2e-4), ("int8", 1e-2)])
def test_a_whole_layer_behind_a_prompt_equals_its_formula(rng, kept, near):
    """A shared prompt of 5 tokens, 3 own tokens, then 2 more; two of three rows are wanted."""
    block, x, tables, _ = layer_and_input(rng, 3, 2)
    results = []
    for one_kernel in (True, False):
        prefix, own = (KVCache.empty(block.config, b, 8, "CPU", kept) for b in (1, 3))
        r = np.random.default_rng(3)
        prompt, tail = (Tensor(normal(r, b, t, 42)) for b, t in ((1, 5), (3, 3)))
        read = partial(run_layer, block, tables, one_kernel)
        read(prompt, prefix.holding(0)).realize()
        prefix = prefix.holding(5)
        first = read(tail, own.holding(0, prefix)).numpy()
        held = [5, int(tail.shape[1])]
        wanted = Tensor(np.array([*held, 4, 0, 0, 0, 1, 4, 5], dtype=np.int32))
        then = read(x, own.holding(3, prefix, wanted)).numpy()
        results.append((first, then[[0, 2]]))
    for kernel, formula in zip(*results, strict=True):
        assert kernel == pytest.approx(formula, abs=near)  # now and then they round to neighbours


def run_layer(block, tables, one_kernel, x, cache):
    seen = cache.seen(x.shape[1], "CPU")
    cache = cache if cache.rows is not None else cache.wanting_all(x)
    read = block if one_kernel else block._formula
    return read(x, tables, seen, cache, 0)


@pytest.mark.slow
def test_the_gradient_of_a_whole_layer_is_that_of_its_formula(rng):
    block, x, tables, seen = layer_and_input(rng, 2, 3)
    gradients = []
    for read in (block, partial(block._formula, cache=None, layer=0)):
        tensors = [x, *get_parameters(block)]
        found = read(x, tables, seen).square().sum().gradient(*tensors)
        gradients.append([gradient.numpy() for gradient in found])
    assert len(gradients[0]) == 1 + 2 + 2 * 7
    for ours, formula in zip(*gradients, strict=True):
        assert ours == pytest.approx(formula, rel=1e-3, abs=1e-4)
        assert np.abs(ours).max() > 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("flags", OTHERS)
def test_the_branches_for_other_x86_processors_compute_the_same(rng, flags, tmp_path, monkeypatch):
    x, w, b = (normal(rng, *shape) for shape in ((7, 37), (13, 37), (13,)))
    kernel = kernel_of(monkeypatch, lambda: ops.linear(Tensor(x), Tensor(w), Tensor(b)))
    expected = x.astype(np.float64) @ w.T + b
    assert run_here(kernel, flags, tmp_path) == pytest.approx(expected, abs=1e-5)

    for kind in FORMATS:
        raw = blocks(rng, kind, 13, depth_of(kind))
        layer, x = quantized.QuantizedLinear(Tensor(raw), kind), normal(rng, 7, depth_of(kind))
        expected = x @ floats(raw, kind).T
        kernel = kernel_of(monkeypatch, lambda layer=layer, x=x: layer(Tensor(x)))
        found = run_here(kernel, flags, tmp_path)
        assert found == pytest.approx(expected, abs=float(1e-5 * np.abs(expected).max()))
    raw, x = blocks(rng, "Q4_K", 13, 7 * 256), normal(rng, 7, 7 * 256)  # unpacked in pieces
    expected = x @ floats(raw, "Q4_K").T
    deep = quantized.QuantizedLinear(Tensor(raw), "Q4_K")
    kernel = kernel_of(monkeypatch, lambda: deep(Tensor(x)))
    assert run_here(kernel, flags, tmp_path) == pytest.approx(expected, abs=1e-4)

    q, both = normal(rng, 3, 3, 4, 22), memories(rng, 3, 22)
    expected = ops.attention_formula(Tensor(q), both).numpy()
    kernel = kernel_of(monkeypatch, lambda: ops.attention(Tensor(q), both))
    assert run_here(kernel, flags, tmp_path) == pytest.approx(expected, abs=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("options", [{}, RECURRENT], ids=["attention", "recurrence"])
@pytest.mark.parametrize("flags", OTHERS)
def test_a_whole_layer_is_the_same_on_other_x86_processors(
    rng, flags, options, tmp_path, monkeypatch
):
    block, x, tables, seen = layer_and_input(rng, 3, 5, **options)
    kernel = kernel_of(monkeypatch, lambda: block(x, tables, seen))
    expected = block._formula(x, tables, seen, None, 0).numpy()
    assert run_here(kernel, flags, tmp_path) == pytest.approx(expected, abs=1e-5)


OLD = "-mno-avx2 -mno-avx512f -mno-fma -mno-f16c"  # whose halves are converted by whole numbers


def converting(halves, given):
    """A kernel that rounds floats to halves, and another that makes floats of halves."""
    source = kernels.library(kept=dtypes.float16)
    for name, out, of in (("narrow", "kept", given), ("widen", "float", halves)):
        read = "float" if name == "narrow" else "kept"
        body = f"WIDE void run_{name}({out} *out, const {read} *x) {{ {name}(out, x, {of.size}); }}"
        written = np.zeros(of.size, np.uint16 if name == "narrow" else np.float32)
        yield processors.Kernel(f"run_{name}", f"{source}\n{body}\n", [written], [of])


@pytest.mark.slow
@pytest.mark.parametrize("flags", ["", *OTHERS, OLD])
def test_every_half_is_read_and_rounded_to_as_numpy_does(flags, tmp_path):
    """Each half, the middle of two, and the floats just beside both; beyond the largest, that."""
    halves = np.arange(1 << 16, dtype=np.uint16)
    with np.errstate(invalid="ignore", over="ignore"):
        exact = halves.view(np.float16).astype(np.float32)
        middle = (exact + np.nextafter(halves.view(np.float16), np.float16(np.inf))) / 2
        given = np.concatenate([exact, middle]).astype(np.float32)
        given = np.concatenate(
            [given, *(np.nextafter(given, np.float32(end)) for end in (-np.inf, np.inf))]
        )[: 6 * (1 << 16) - 3]  # no whole vectors
        expected = np.clip(given, -65504, 65504).astype(np.float16)
    narrow, widen = converting(halves, given)
    rounded = run_here(narrow, flags, tmp_path).view(np.float16)
    assert np.array_equal(rounded, expected, equal_nan=True)
    assert (np.signbit(rounded) == np.signbit(expected)).all()
    assert np.array_equal(run_here(widen, flags, tmp_path), exact, equal_nan=True)


@pytest.mark.slow
@pytest.mark.parametrize("flags", ["", *OTHERS, OLD])
@pytest.mark.parametrize("size", [1, 31, 64, 80])
def test_heads_are_rounded_to_eight_bits_as_the_formula_does(rng, flags, size, tmp_path):
    """To the bit: also what is large, what is next to nothing, and zeros."""
    x = normal(rng, 40, size) * 10.0 ** rng.integers(-9, 9, (40, 1)).astype(np.float32)
    x[::7] = 0
    x[1], x[2] = 1e-36, -3e38
    room = kept_size(size, "int8")
    body = f"""WIDE void run(signed char *out, const float *x) {{
      long size = {size};
      for (long g = 0; g < 40; g++) narrow(out + g * {room}, x + g * size, size);
    }}"""
    source = f"{kernels.library(kept=dtypes.int8)}\n{body}\n"
    kernel = processors.Kernel("run", source, [np.zeros((40, room), np.int8)], [x])
    found = run_here(kernel, flags, tmp_path)
    expected = narrow(Tensor(x), dtypes.int8)
    assert (found == expected.numpy()).all()
    near = np.abs(x).max(-1, keepdims=True) / 250 + 1e-28
    assert (np.abs(widen(expected, size).numpy() - x) <= near).all()


@pytest.mark.slow
@pytest.mark.parametrize(("kept", "near"), [("float16", 2e-4), ("int8", 1e-2)])
@pytest.mark.parametrize("flags", [*OTHERS, OLD])
def test_what_is_rounded_is_kept_and_read_the_same_on_other_x86_processors(
    rng, flags, kept, near, tmp_path, monkeypatch
):
    q, both = normal(rng, 3, 3, 4, 22), memories(rng, 3, 22)
    both = rounded_memories(both, getattr(dtypes, kept))[0]
    expected = ops.attention_formula(Tensor(q), both).numpy()
    kernel = kernel_of(monkeypatch, lambda: ops.attention(Tensor(q), both))
    assert run_here(kernel, flags, tmp_path) == pytest.approx(expected, abs=1e-6)

    block, x, tables, seen = layer_and_input(rng, 3, 5)
    own = KVCache.empty(block.config, 3, 8, "CPU", kept).holding(0).wanting_all(x)
    expected = run_layer(block, tables, False, x, own).numpy()
    kernel = kernel_of(monkeypatch, lambda: block(x, tables, seen, own))
    assert run_here(kernel, flags, tmp_path) == pytest.approx(expected, abs=near)


@pytest.mark.slow
@pytest.mark.parametrize("target", ARM)
def test_the_branch_for_arm_compiles_and_computes_the_same(rng, target, tmp_path, monkeypatch):
    """Compiled where ziglang is installed, for Linux also run where qemu is."""
    pytest.importorskip("ziglang")
    x, w = normal(rng, 7, 37), normal(rng, 13, 37)
    q, both = normal(rng, 3, 3, 4, 22), memories(rng, 3, 22)
    stored = [rounded_memories(both, kept)[0] for kept in (dtypes.float16, dtypes.int8)]
    wide = normal(rng, 7, 768)
    in_blocks = {
        kind: quantized.QuantizedLinear(Tensor(blocks(rng, kind, 13, depth_of(kind))), kind)
        for kind in ("Q4_1", "Q5_0", "Q6_K", "IQ4_XS")
    }
    block, tokens, tables, seen = layer_and_input(rng, 3, 5)
    recurrent, *_ = layer_and_input(rng, 1, 1, **RECURRENT)
    for call, expected in (
        (lambda: ops.linear(Tensor(x), Tensor(w)), x @ w.T),
        *(
            (partial(layer, Tensor(wide[:, :size])), wide[:, :size] @ layer.floats().numpy().T)
            for layer in in_blocks.values()
            for size in [layer.in_size]
        ),
        (
            lambda: ops.attention(Tensor(q), both),
            ops.attention_formula(Tensor(q), both).numpy(),
        ),
        *(
            (partial(ops.attention, Tensor(q), one), ops.attention_formula(Tensor(q), one).numpy())
            for one in stored
        ),
        (
            lambda: block(tokens, tables, seen),
            block._formula(tokens, tables, seen, None, 0).numpy(),
        ),
        (
            lambda: recurrent(tokens, None, seen),
            recurrent._formula(tokens, None, seen, None, 0).numpy(),
        ),
    ):
        found = run_on_arm(kernel_of(monkeypatch, call), target, tmp_path)
        near = float(1e-5 * max(1, np.abs(expected).max()))
        assert found is None or found == pytest.approx(expected, abs=near)


def test_what_the_kernels_cannot_serve_takes_the_formula(rng):
    w = Tensor(normal(rng, 3, 4))
    assert not cpu.serves(Tensor(normal(rng, 2, 4)).half(), w)
    assert not cpu.serves(Tensor(normal(rng, 2, 4)).to("CPU:1"), w)
    assert not cpu.serves(Tensor(normal(rng, 2, 4)).to("PYTHON"))
    halves = ops.linear(Tensor(normal(rng, 2, 4)).half(), w.half())
    assert halves.dtype.name == "half"
