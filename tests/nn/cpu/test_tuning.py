"""Sizes of the kernels change no bit, and those that were measured are read where they belong."""

import json
from itertools import zip_longest

import numpy as np
import pytest
from block_formats import blocks
from processors import ARM, BFLOATS, kernel_of, normal, run_here, run_on_arm
from tinygrad import Tensor

from edifice_tt.contract.errors import CheckpointError, EdificeError
from edifice_tt.doctor import formulas
from edifice_tt.nn.cpu import instructions, kernels, tuning
from edifice_tt.nn.cpu.bridge import computes_halves
from edifice_tt.nn.cpu.instructions import LINES, PLAIN, TABLE
from edifice_tt.nn.stored.bfloat16 import Bfloat16Linear
from edifice_tt.nn.stored.blocks import QuantizedLinear
from edifice_tt.nn.stored.float16 import Float16Linear
from edifice_tt.nn.stored.int8 import Int8Linear, group_rows


@pytest.fixture
def home(monkeypatch, tmp_path):
    """A folder of this test's own, in which nothing was kept."""
    monkeypatch.delenv("EDIFICE_TT_TUNED")
    monkeypatch.setenv("EDIFICE_TT_HOME", str(tmp_path))
    tuning._kept_table.cache_clear()
    yield tmp_path
    tuning._kept_table.cache_clear()


def lines_of(line):
    """Few lines that hold every candidate of every size."""
    columns = zip_longest(*tuning.CANDIDATES.values())
    sizes = [dict(zip(tuning.CANDIDATES, column, strict=True)) for column in columns]
    return [line._replace(**{name: size for name, size in some.items() if size}) for some in sizes]


def weight_of(rng, kind, activations):
    if kind == "F32":
        return kernels.pack(Tensor(normal(rng, 29, 512)))
    raw = blocks(rng, kind, 29, 512)
    if activations in ("int8", "bfloat16"):
        grouped = Int8Linear if activations == "int8" else Bfloat16Linear
        return grouped(Tensor(group_rows(raw, kind)), kind, 29).packed
    of = Float16Linear if activations == "float16" else QuantizedLinear
    return of(Tensor(raw).realize(), kind).packed


def product(x, weight, count):
    """Of the first rows alone; one program for any number of them."""
    rows = np.array([0, 0, count, *[0] * (kernels.HEADER - 3), *range(len(x))], np.int32)
    return kernels.linear(Tensor(x), weight, formula=lambda *given: given[0], rows=Tensor(rows))


# --- no size changes a bit

PRODUCTS = [("F32", "float32"), ("Q4_K", "float32"), ("Q8_0", "float32"), ("Q4_1", "float16")]
PRODUCTS += [pytest.param(kind, "bfloat16", marks=BFLOATS) for kind in ("Q4_1", "Q6_K")]
PRODUCTS += [(kind, "int8") for kind in ("Q4_K", "Q6_K", "Q8_0", "Q4_1")]


def test_the_lines_that_are_compared_hold_every_candidate():
    lines = lines_of(PLAIN)
    for name, candidates in tuning.CANDIDATES.items():
        assert set(candidates) <= {getattr(line, name) for line in lines}


# Of rows: a single one, tiles of each size, those of a matrix unit, and more than go together.
COUNTS = (1, 3, 15, 23, kernels.GROUP + 3)


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "activations"), PRODUCTS)
def test_no_size_changes_a_bit_of_a_product(rng, kind, activations):
    if activations == "float16" and not computes_halves("CPU"):
        pytest.skip("this processor does not compute in float16")
    weight, x = weight_of(rng, kind, activations), normal(rng, max(COUNTS), 512)
    expected = [product(x, weight, count).numpy()[:count] for count in COUNTS]
    assert all((few == expected[-1][: len(few)]).all() for few in expected)
    for line in lines_of(tuning.default_line()):
        with tuning.trying(line):
            found = [product(x, weight, count).numpy()[:count] for count in COUNTS]
        for one, other in zip(found, expected, strict=True):
            assert one.tobytes() == other.tobytes(), (line, len(one))


@pytest.mark.slow
def test_no_size_changes_a_bit_of_a_whole_model():
    """Of more tokens than go through a layer together."""
    ids = [[n % 61 for n in range(kernels.GROUP + 5)]]
    expected = formulas.causal_lm("CPU")(ids).logits.numpy()
    for line in lines_of(tuning.default_line()):
        with tuning.trying(line):
            found = formulas.causal_lm("CPU")(ids).logits.numpy()
        assert found.tobytes() == expected.tobytes(), line


FLAGS = {"AVX2": "-mavx2 -mfma -mno-avx512f", PLAIN.name: "-mno-avx2 -mno-avx512f -mno-fma"}


@pytest.mark.slow
@pytest.mark.parametrize("of", [("Q4_K", "float32"), ("Q6_K", "int8")], ids=str)
@pytest.mark.parametrize("line", [*TABLE[1:], PLAIN], ids=lambda line: line.name)
def test_no_size_changes_a_bit_on_another_processor(rng, line, of, tmp_path, monkeypatch):
    """Each with the line of its own; on Arm under qemu, where it can be compiled and run."""
    if line.name not in FLAGS:
        pytest.importorskip("ziglang")
    weight, x = weight_of(rng, *of), normal(rng, 23, 512)
    found = []
    for i, one in enumerate([line, *lines_of(line)]):
        with tuning.trying(one):
            kernel = kernel_of(monkeypatch, lambda: product(x, weight, 23))
        (folder := tmp_path / str(i)).mkdir()
        if line.name in FLAGS:
            found.append(run_here(kernel, FLAGS[line.name], folder).copy())
        else:
            found.append(run_on_arm(kernel, ARM[0], folder))
    if found[0] is None:
        pytest.skip("compiled for Arm, and there is no qemu to run it")
    assert np.abs(found[0]).max() > 0
    assert all(one.tobytes() == found[0].tobytes() for one in found)


def test_what_is_tried_is_written_into_the_source_and_no_further():
    with tuning.trying(TABLE[1]._replace(far=4096)):
        source = kernels.library()
    avx2 = source.partition(f"#elif defined({TABLE[1].macro})")[2].partition("#elif")[0]
    assert "#define FAR 4096" in avx2
    assert source.count("#define FAR 4096") == 1
    assert source.count("#define FAR 8192") == len(LINES) - 1
    assert "#define FAR 4096" not in kernels.library()


# --- what was measured is kept, and read where it belongs


def test_what_was_measured_is_read_again(home):
    line = tuning.default_line()._replace(most_rows=4, far=2048)
    assert tuning.read() is None
    assert tuning.table() == LINES
    kept = tuning.keep(line)
    assert tuning.read() == kept == (line, kept.day)
    assert line in tuning.table()
    assert len(tuning.table()) == len(LINES)
    assert [path.name for path in home.iterdir()] == ["kernel_sizes.json"]


def test_it_is_read_once_in_a_process(home):
    line = tuning.default_line()
    tuning.keep(line._replace(far=2048))
    before = tuning.table()
    (home / "kernel_sizes.json").write_text("{}")
    assert tuning.table() is before


def test_the_environment_turns_it_off(home, monkeypatch):
    tuning.keep(tuning.default_line()._replace(far=2048))
    monkeypatch.setenv("EDIFICE_TT_TUNED", "0")
    assert tuning.read() is None
    assert tuning.table() == LINES


@pytest.mark.parametrize("what", ["processor", "in_use", "__version__"])
def test_sizes_of_another_processor_or_version_are_not_taken(home, monkeypatch, what):
    """And where a folder serves several processors, each has its own."""
    ours = tuning.keep(tuning.default_line()._replace(far=2048))
    other = {"processor": lambda: "Other", "in_use": lambda: ("AVX2",), "__version__": "0"}[what]
    with monkeypatch.context() as patch:
        patch.setattr(tuning, what, other)
        assert tuning.read() is None
        theirs = tuning.keep(tuning.default_line()._replace(far=4096))
        assert tuning.read() == theirs
    assert tuning.read() == (None if what == "__version__" else ours)


def test_without_a_folder_or_a_compiler_nothing_was_kept(home, monkeypatch):
    tuning.keep(tuning.default_line())
    for name in ("in_use", "cache_folder"):
        with monkeypatch.context() as patch:
            patch.setattr(tuning, name, raising)
            assert tuning.read() is None


def raising():
    raise tuning.ToolchainError("there is none")


DAMAGED = [
    (b"", "not JSON"),
    (b"[1]", "no JSON object"),
    (b"\xff\xfe", "not UTF-8"),
    ({"far": 100}, "far=100 must be one of 2048, 4096, 8192, 16384"),
    ({"far": "8192"}, "far='8192' must be a whole number"),
    ({"tile_rows": 3.0}, "tile_rows=3.0 must be a whole number"),
    ({"most_rows": True}, "most_rows=True must be a whole number"),
    ({"day": 7}, "day=7 must be a text"),
    (7, "must be a record"),
]


@pytest.mark.parametrize(("content", "why"), DAMAGED, ids=str)
def test_a_damaged_file_is_one_warning_and_the_table_holds(home, content, why):
    line = tuning.default_line()._replace(far=2048)
    tuning.keep(line)
    file = home / "kernel_sizes.json"
    if not isinstance(content, bytes):
        ((key, entry),) = json.loads(file.read_text()).items()
        entry = entry | content if isinstance(content, dict) else content
        content = json.dumps({key: entry}).encode()
    file.write_bytes(content)
    with pytest.raises(CheckpointError, match=why) as caught:
        tuning.read()
    assert "doctor --tune measures and writes it anew" in str(caught.value)
    assert "\n" not in str(caught.value)
    with pytest.warns(RuntimeWarning, match="the kernels take the sizes of their table") as told:
        assert tuning.table() == LINES
    assert tuning.table() == LINES
    assert len(told) == 1
    tuning.keep(line)
    assert tuning.read().line == line


def test_a_folder_that_is_none_is_named(home, monkeypatch):
    (home / "file").touch()
    monkeypatch.setenv("EDIFICE_TT_HOME", str(home / "file"))
    assert tuning.read() is None
    with pytest.raises(EdificeError, match=r"cannot be kept in .*file.*EDIFICE_TT_HOME"):
        tuning.keep(tuning.default_line())


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("processor : 0\nmodel name\t: Example 9\n\nmodel name\t: Another\n", "Example 9"),
        ("CPU implementer\t: 0x41\nCPU part\t: 0xd0c\n", "0x41 0xd0c"),
        ("processor : 0\n", "plain"),
    ],
)
def test_a_processor_has_the_name_that_linux_tells(monkeypatch, text, name):
    monkeypatch.setattr(instructions.Path, "read_text", lambda *_, **__: text)
    monkeypatch.setattr(instructions.sys, "platform", "linux")
    monkeypatch.setattr(instructions.platform, "processor", lambda: "plain")
    assert instructions.processor() == name
