"""Asks a scorer of text in another Python process, in which texts hash to other numbers.

Knows how a scorer is found again there; not what it must give.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

_SECONDS = 60  # the longest wait for the other process
_BEGIN = (
    "import json, sys; request = json.load(sys.stdin); sys.path[:] = request.pop('path'); "
    "from edifice_tt.testing.answering import answer; answer(**request)"
)


def ask_elsewhere(
    plugin: str | Callable[..., Any], per: str, options: Mapping[str, Any], texts: Sequence[str]
) -> Any:
    """What a scorer gives in another process for each of these completions.

    None if it cannot be made there, as what a test defines within a function. And None if it fails
    there or asks a service, for a test may have prepared that in this process alone.
    """
    if (place := _place(plugin)) is None:
        return None
    about = {"place": place, "per": per, "options": dict(options), "texts": list(texts)}
    try:
        return _run(json.dumps({**about, "path": sys.path}))
    except (TypeError, ValueError):  # options, or an answer, that JSON does not know
        return None


def _place(plugin: str | Callable[..., Any]) -> list[str] | None:
    """A registered name, or module and name of a function; None where it has no such name."""
    if isinstance(plugin, str):
        return [plugin]
    module, name = getattr(plugin, "__module__", None), getattr(plugin, "__qualname__", "<")
    return None if module in (None, "__main__") or "<" in name else [module, name]


@cache  # each process is a second or so
def _run(request: str) -> Any:
    seed = "2" if os.environ.get("PYTHONHASHSEED") == "1" else "1"
    try:
        done = subprocess.run(
            [sys.executable, "-c", _BEGIN],
            input=request.encode(),
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            timeout=_SECONDS,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return json.loads(done.stdout)
