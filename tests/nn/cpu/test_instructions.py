"""The table of instructions is what the compiler chooses from, and what the doctor tells."""

import subprocess
from types import SimpleNamespace

import pytest

from edifice_tt.contract.errors import ToolchainError
from edifice_tt.machine.toolchain import prepare_compiler
from edifice_tt.nn.cpu import instructions
from edifice_tt.nn.cpu.instructions import PLAIN, TABLE, tiles_in_c


@pytest.mark.parametrize("way", [*TABLE, PLAIN], ids=lambda way: way.name)
def test_the_compiler_chooses_the_line_of_the_processor(way):
    """As if it had these instructions and no others."""
    defined = "".join(f"#undef {other.macro}\n" for other in TABLE)
    defined += f"#define {way.macro} 1\n" if way.macro else ""
    sizes = "WIDTH TILE_ROWS TILE_COLUMNS MOST_ROWS FAR"
    done = subprocess.run(
        [prepare_compiler(), "-E", "-P", "-x", "c", "-"],
        input=f"{defined}{tiles_in_c()}\n{sizes}\n",
        capture_output=True,
        text=True,
        check=True,
    )
    assert [int(size) for size in done.stdout.split()] == list(way[2:])


@pytest.mark.parametrize(
    ("macros", "allowed", "told"),
    [
        ("__AVX2__", True, ("AVX2",)),
        ("__AVX2__ __AVX512F__ __AVX512VNNI__", True, ("AVX-512", "VNNI")),
        ("__AVX512F__ __AVX512VNNI__ __AMX_INT8__", True, ("AVX-512", "VNNI", "AMX")),
        ("__AVX512F__ __AVX512VNNI__ __AMX_INT8__", False, ("AVX-512", "VNNI")),
        ("__ARM_NEON __ARM_FEATURE_DOTPROD", False, ("NEON", "dot products")),
        ("__SSE2__", True, (PLAIN.name,)),
    ],
)
def test_what_is_in_use_is_told(monkeypatch, macros, allowed, told):
    text = "".join(f"#define {name} 1\n" for name in macros.split())
    done = SimpleNamespace(returncode=0, stdout=text)
    monkeypatch.setattr(instructions.subprocess, "run", lambda *_, **__: done)
    monkeypatch.setattr(instructions, "allows_amx", lambda: allowed)
    assert instructions.in_use.__wrapped__() == told


def test_a_compiler_that_fails_is_an_error(monkeypatch):
    done = SimpleNamespace(returncode=1, stdout="", stderr="error: unknown target CPU")
    monkeypatch.setattr(instructions.subprocess, "run", lambda *_, **__: done)
    with pytest.raises(ToolchainError, match="fails: error: unknown target CPU"):
        instructions.in_use.__wrapped__()
