"""Checks the environment variables that tinygrad reads. Does not import tinygrad."""

import os
from pathlib import Path

from edifice_tt.contract.errors import ToolchainError

# Variables that change results or prevent graph capture, with their harmless values.
_FIXED: dict[str, tuple[str, ...]] = {
    "CAPTURING": ("1",),
    "DEFAULT_FLOAT": ("float32",),
    "DISALLOW_BROADCAST": ("0",),
    "EXPAND_SSA": ("0",),
    "JIT": ("1", "2"),
    "OPTIM_DTYPE": ("float32",),
    "PCONTIG": ("0",),
    "REDUCEOP_SPLIT_SIZE": ("22",),
    "REDUCEOP_SPLIT_THRESHOLD": ("32768",),
    "SPLIT_REDUCEOP": ("1",),
    "SUM_DTYPE": ("float32",),
    "TRAINING": ("0",),
    "TRANSCENDENTAL": ("1",),
}


def check_environment() -> None:
    """Raise `ToolchainError` for a variable that changes what tinygrad computes."""
    for name, harmless in _FIXED.items():
        value = os.environ.get(name)
        if value is not None and value not in harmless:
            raise ToolchainError(
                f"{name}={value} in the environment changes what tinygrad computes, or how; unset "
                f"it, or run this with `env -u {name}`"
            )


def misread_variable(error: BaseException) -> ToolchainError | None:
    """An error that names the variable which made the import of tinygrad fail; else None.

    tinygrad reads common names such as DEBUG as numbers; shells may set them for other programs.
    """
    import linecache
    import re
    from traceback import walk_tb

    from edifice_tt.contract.tracing import one_line

    name = None
    for frame, number in walk_tb(error.__traceback__):
        code = frame.f_code
        if "tinygrad" not in Path(code.co_filename).parts:
            continue
        line = linecache.getline(code.co_filename, number)
        if code.co_name == "getenv":
            name = frame.f_locals.get("key")
        elif code.co_name == "parse" and "s" in frame.f_locals:
            name = "DEV"
        elif code.co_name == "<module>" and (match := re.search(r'getenv\("(\w+)"', line)):
            name = match[1]
    if name is None or name not in os.environ:
        return None
    return ToolchainError(
        f"{name}={os.environ[name]!r:.60} in the environment is nothing that tinygrad reads "
        f"({one_line(error):.120}); unset it, or run this with `env -u {name}`"
    )
