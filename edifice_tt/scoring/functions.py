"""A function -> the record of a scorer. Knows the registry; calls nothing."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from edifice_tt.contract import registry
from edifice_tt.contract.factories import check_name
from edifice_tt.contract.tracing import show

DECLARED = ("name", "reads", "range", "level", "per")  # what a call may declare of a function
_NAMELESS = "<lambda>"


def of_function(
    function: Callable[..., Any], declared: Mapping[str, str], taken: Sequence[str] = ()
) -> registry.Scorer:
    """The record of a function that scores, which is in nobody's registry.

    `taken` are the scorers whose scores are there already.
    """
    given: dict[str, Any] = {"reads": "text", **declared}
    if not callable(function):
        raise ValueError(f"scorer={show(function):.60} is neither a scorer's name nor a function")
    if "name" in given:
        check_name("scorer", given["name"])
    name = given.pop("name", getattr(function, "__name__", type(function).__name__))
    if name == _NAMELESS and name in taken:
        raise ValueError(
            "the pool has scores of a lambda already, and a lambda has no name to tell two apart; "
            "give name=..., or use a def"
        )
    registered = registry.load_registry().scorers
    if name in registered:
        raise ValueError(
            f"the function {name!r} has the name of a scorer of {registered[name].owner}; rename it"
        )
    if given["reads"] in ("hidden", "states", "judge"):
        raise ValueError(
            f"reads={given['reads']!r} is for registered scorers; a function reads text or "
            "numbers of tokens"
        )
    return registry.Scorer(name, lambda: function, **given)
