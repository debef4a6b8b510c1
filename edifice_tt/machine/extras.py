"""Libraries that an extra installs. Knows none of them."""

import sys
from importlib import import_module
from types import ModuleType

from edifice_tt.contract.errors import ToolchainError


def require(module: str, extra: str) -> ModuleType:
    """Import an optional library; raises `ToolchainError` naming the extra that installs it."""
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module.split(".", maxsplit=1)[0]:
            raise
        raise ToolchainError(
            f"this needs the library {module!r}, which is not installed; run: "
            f"{sys.executable} -m pip install 'edifice-tt[{extra}]'"
        ) from error
