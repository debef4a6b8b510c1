"""Whether what is registered makes a thing, as it must, or is the thing itself.

Knows signatures; calls nothing but a scorer's factory.
"""

import inspect
import re
from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Any

from edifice_tt.contract.errors import PluginError, unknown_name
from edifice_tt.contract.tracing import show

if TYPE_CHECKING:
    from edifice_tt.contract.records import Scorer

# Parameters that are never options: whoever has one without a default is the scorer.
_READ = {"completions", "completion", "candidates", "token_logprobs", "messages"}
_HIDDEN = {"hidden", "hidden_states", "states", "x"}
_SIGNS = re.compile(r"[\s\x00-\x1f:=,]|^-")
_PLAIN = (bool, int, float, str)  # of options
_CALLS = {"text": "scorer(prompt, completions)", "hidden": "head(hidden)"}


def parameters(function: Callable[..., Any]) -> Mapping[str, inspect.Parameter]:
    """The parameters of a function; of one without a signature, as some in C are, any."""
    try:
        return inspect.signature(function).parameters
    except (ValueError, TypeError):
        return inspect.signature(lambda *_, **__: None).parameters


def required(function: Callable[..., Any]) -> list[str]:
    """The names of the parameters that must be given."""
    several = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    found = parameters(function).values()
    return [one.name for one in found if one.default is one.empty and one.kind not in several]


def check_callable(who: str, option: str, value: object) -> None:
    """Raise `PluginError` for what cannot be called."""
    if not callable(value):
        do = "; give a function that makes it" if option in ("factory", "make", "build") else ""
        raise PluginError(f"{who}: {option}={value!r:.60} is not callable{do}")


def check_takes(who: str, option: str, function: Callable[..., Any], *names: str) -> None:
    """Raise `PluginError` for a function that cannot be called with so many arguments."""
    try:
        inspect.signature(function).bind_partial(*names)
    except ValueError:
        return  # without a signature
    except TypeError:
        takes = ", ".join(parameters(function))
        raise PluginError(
            f"{who}: {option} is called with ({', '.join(names)}), but takes ({takes}); give the "
            "function itself, and none that returns it"
        ) from None


def check_factory(who: str, reads: str, factory: Callable[..., Any]) -> None:
    """Raise `PluginError` for a scorer in place of the function that makes it."""
    check_callable(who, "factory", factory)
    needed = required(factory)
    if reads == "hidden":
        is_scorer = bool(needed) and needed[0] in _HIDDEN
    else:
        is_scorer = bool(_READ & {*needed}) or _asks(factory, needed)
    if is_scorer:
        raise PluginError(
            f"{who}: factory={show(factory):.60} takes ({', '.join(needed)}), so it is the scorer "
            f"itself; register a function that returns it: lambda: {show(factory):.60}"
        )
    if reads == "states" and needed:
        raise PluginError(f"{who}: its factory is given nothing, but needs {needed[0]}")


def _asks(factory: Callable[..., Any], needed: list[str]) -> bool:
    """Whether a question is given, and then something that is declared as no option."""
    if len(needed) < 2 or needed[0] not in ("prompt", "question"):
        return False
    hint = parameters(factory)[needed[1]].annotation
    return hint not in (*_PLAIN, *(kind.__name__ for kind in _PLAIN))


def make_scorer(record: "Scorer") -> Any:
    """What a factory makes. Raises `PluginError` for what is no scorer."""
    scorer = record.factory()
    if not callable(scorer):
        called = _CALLS.get(record.reads, f"scorer({record.reads})")
        raise PluginError(
            f"its factory returned {show(scorer):.60}, expected a function, called as {called}"
        )
    return scorer


def check_name(kind: str, name: object) -> None:
    """Raise `PluginError` for a name with a sign that divides options or names from each other."""
    if not isinstance(name, str) or not name:
        raise PluginError(f"the name of a {kind} must be a non-empty str, given {name!r}")
    if wrong := _SIGNS.search(name):
        raise PluginError(
            f"{kind} {name!r}: a name must have no {wrong[0]!r}; use letters, digits, - and _"
        )


def check_arguments(
    kind: str, name: str, make: Callable[..., Any], given: Collection[str], count: int
) -> None:
    """Raise for an argument of `register` that there is not, and for one that is missing."""
    known = [one for one in parameters(make) if one != "owner"]
    for option in given:
        if option not in known:
            raise unknown_name("argument of register", option, known)
    needed = [one for one in required(make) if one not in (*known[: count + 1], *given)]
    if needed or count >= len(known) or {*given} & {*known[: count + 1]}:
        text = f"{needed[0]} is missing" if needed else "too many are given"
        raise PluginError(
            f"{kind} {name!r}: of the arguments of register, {text}; they are {', '.join(known)}"
        )
