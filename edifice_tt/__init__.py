"""Test-time compute on tinygrad: sample N answers, score them, keep the best.

The front door: every public name, each imported from its room when it is first used, so that
`import edifice_tt` costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from edifice_tt.errors import EdificeError as EdificeError
    from edifice_tt.hookspecs import hookimpl as hookimpl

_ROOMS = {
    "errors": "EdificeError UnknownNameError NameTakenError PluginError CheckpointError "
    "ToolchainError PluginWarning",
    "hookspecs": "hookimpl",
    "registry": "list_architectures list_scorers list_selectors architecture build output_size "
    "recommended_defaults",
}
_HOMES = {name: room for room, names in _ROOMS.items() for name in names.split()}
__all__ = sorted(_HOMES)  # noqa: PLE0605


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'edifice_tt' has no attribute {name!r}")
    return getattr(import_module(f"edifice_tt.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
