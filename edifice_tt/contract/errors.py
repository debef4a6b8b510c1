"""The errors and warnings of this library, and how they are worded; knows no tensor, no plugin.

A message says what, given, expected, do this: `num_heads=6 must be a multiple of num_kv_heads=4;
use num_kv_heads=1, 2, 3 or 6`. Bad argument values are plain `ValueError`.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches


class EdificeError(Exception):
    """A mistake that the user can mend; the message says how."""


class UnknownNameError(EdificeError):
    """A name that nothing has registered: an architecture, scorer, selector, model or option."""


class NameTakenError(EdificeError):
    """A plugin registers a name that another plugin has registered already."""


class PluginError(EdificeError):
    """A plugin that cannot be loaded, or that breaks the contract of a hook."""


class CheckpointError(EdificeError):
    """A weights or pool file that is damaged, foreign, or does not fit the model."""


class ToolchainError(EdificeError):
    """No device, no compiler, or an optional library that is not installed."""


class PluginWarning(UserWarning):
    """A plugin failed and was left out; everything else keeps working."""


class PrecisionWarning(UserWarning):
    """Weights are stored in another dtype than requested, because the device lacks that one."""


class PoolWarning(UserWarning):
    """Part of a pool file was left out; the rest was read."""


class TrainedOnWarning(PoolWarning):
    """A scorer was trained on the problem that it scores, so these scores are too optimistic."""


def reason_of(error: BaseException) -> str:
    """What a foreign error says, as a part of our own message: one line, and no long one."""
    return " ".join(str(error).split())[:200] or type(error).__name__


@contextmanager
def reading(path: object, told: str = "{}") -> Iterator[None]:
    """Whatever is wrong with a file that is read here: a `CheckpointError` that names the file."""
    try:
        yield
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise CheckpointError(f"{path}: {told.format(error)}") from error


def name_taken(what: str, owner: str, other: str) -> NameTakenError:
    """The error for a name that two register."""
    return NameTakenError(
        f"{what} is registered by {owner} and claimed again by {other}; rename one of them"
    )


def disputed(what: str, owners: str) -> NameTakenError:
    """The error for asking for a name that two plugins register."""
    return NameTakenError(
        f"{what} is registered by {owners}; uninstall one of them, or name the plugins to load in "
        "EDIFICE_TT_PLUGINS"
    )


def unknown_name(kind: str, name: object, known: Iterable[str], note: str = "") -> UnknownNameError:
    """The error for an unknown name; it lists the nearest names, then all of them.

    >>> print(unknown_name("scorer", "mpl", ["linear", "mlp"]))
    unknown scorer 'mpl'; did you mean 'mlp'? Known: linear, mlp
    """
    names = sorted(known)
    near = get_close_matches(str(name), names, n=3, cutoff=0.5)
    guess = f"; did you mean {' or '.join(map(repr, near))}?" if near else ";"
    listing = f" Known: {', '.join(names)}" if near else f" known: {', '.join(names) or 'none'}"
    return UnknownNameError(f"unknown {kind} {name!r}{guess}{listing}{note}")
