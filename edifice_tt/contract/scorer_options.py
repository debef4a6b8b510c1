"""A scorer with options is named `NAME:OPTION=VALUE`, as in `deepconf:part=tail:window=256`.

So its scores stand in a pool under the name that says what they are.
"""

import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import partial
from inspect import Parameter, isclass, signature
from typing import Any, get_args, get_type_hints

from edifice_tt.contract.errors import PluginError, unknown_name
from edifice_tt.contract.factories import make_scorer
from edifice_tt.contract.made import make_once
from edifice_tt.contract.records import Scorer
from edifice_tt.contract.tracing import blamed, subject_of

_NEXT = re.compile(r":(?=[^\W\d]\w*=)")  # so a value may hold other colons, as an address does
KINDS: dict[type, tuple[str, Callable[[str], Any]]] = {
    bool: ("true or false", {"true": True, "false": False}.__getitem__),
    int: ("a whole number", int),
    float: ("a number", float),
    str: ("text", str),
}


def name_with(name: str, options: Mapping[str, Any]) -> str:
    """The name of a scorer with these options, under which its scores are recorded.

    Raises `ValueError` for a value that a name cannot hold.

    >>> name_with("judge", {"url": "http://localhost:8000/v1", "votes": 3})
    'judge:url=http://localhost:8000/v1:votes=3'
    """
    for option, value in options.items():
        text = str(value).lower() if isinstance(value, bool) else str(value)
        plain = type(value) in KINDS and option.isidentifier() and not _NEXT.search(text)
        if not plain or not text.isprintable():
            raise ValueError(
                f"option {option}={value!r:.60} of scorer {name!r}: expected true, false, a number "
                "or one line of text without another :OPTION= in it"
            )
        name += f":{option}={text}"
    return name


def with_options(record: Scorer, name: str) -> Scorer:
    """The scorer that `name` asks for: this record, whose factory gets the options in the name.

    An option is a parameter of the factory. It has the type of its default, else of its annotation,
    else it is text. Raises `UnknownNameError` for another option, and `ValueError` for a value that
    it cannot have, or where one is missing.
    """
    given = _given(record, name)
    made = replace(
        record, name=name_with(record.name, given), factory=partial(record.factory, **given)
    )
    check_complete(made)
    if record.reads != "judge":  # it is made where its device is known
        who, subject = f"scorer {made.name!r} of {record.owner}", subject_of("scorer", made)
        with blamed(f"{who} failed", own=(ValueError, PluginError), subject=subject):
            make_once(made, partial(make_scorer, made))  # what it refuses is told before sampling
    return made


def full_name(record: Scorer, name: str) -> str:
    """The name with its options in their usual spelling and order. Raises as `with_options`."""
    return name_with(record.name, _given(record, name))


def _given(record: Scorer, name: str) -> dict[str, Any]:
    """The options in a name, in the order of the factory's parameters."""
    known = _kinds(record)
    given: dict[str, Any] = {}
    for text in _NEXT.split(name.removeprefix(f"{record.name}:")):
        option, equals, value = text.partition("=")
        if not equals or option in given:
            raise ValueError(
                f"scorer {name!r}: expected NAME:OPTION=VALUE, each option once, as in "
                "deepconf:part=tail:window=256"
            )
        if option not in known:
            raise unknown_name(f"option of scorer {record.name}", option, known)
        words, read = KINDS[known[option]]
        try:
            given[option] = read(value)
        except (ValueError, KeyError):
            raise ValueError(f"scorer {name!r}: {option}={value} must be {words}") from None
    return {option: given[option] for option in known if option in given}


def check_complete(record: Scorer) -> None:
    """Raise `ValueError` for a scorer that needs an option which its name does not give."""
    for name, one in _parameters(record).items():
        if one.default is one.empty:
            raise ValueError(
                f"scorer {record.name!r} needs the option {name}; give --scorer-option {name}=..., "
                f'in Python scorer_options={{"{name}": ...}}. If this is the scorer itself, '
                "register a function that returns it"
            )


def _kinds(record: Scorer) -> dict[str, type]:
    """The options by name, with the types of their values."""
    factory = record.factory
    hints: dict[str, Any] = {}
    with suppress(Exception):  # names that only a type checker sees, or no plain function
        hints = get_type_hints(factory.__init__ if isclass(factory) else factory)
    return {name: _kind(one, hints.get(name)) for name, one in _parameters(record).items()}


def _kind(parameter: Parameter, hint: Any) -> type:
    if type(parameter.default) in KINDS:
        return type(parameter.default)
    declared = get_args(hint) or (hint,)
    return next((kind for kind in KINDS if kind in declared), str)


def _parameters(record: Scorer) -> dict[str, Parameter]:
    if record.reads in ("hidden", "states"):
        return {}
    try:
        parameters = signature(record.factory).parameters
    except (TypeError, ValueError):  # a C function need not have one
        return {}
    named = (Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY)
    return {name: one for name, one in parameters.items() if one.kind in named}
