"""Files that hold weights. As a plugin, this room reads the formats of `pretrained`."""

from pathlib import Path
from typing import Any

from edifice_tt.contract.hookspecs import hookimpl


@hookimpl
def load_pretrained(path: Path) -> Any:
    from edifice_tt.weights.pretrained import load_builtin

    return load_builtin(path)
