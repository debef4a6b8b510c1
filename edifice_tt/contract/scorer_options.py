"""A scorer with options is named `NAME:OPTION=VALUE`, as in `deepconf:part=tail:window=256`.

So its scores stand in a pool under the name that says what they are.
"""

from dataclasses import replace
from functools import partial
from inspect import Parameter, signature
from typing import Any

from edifice_tt.contract.errors import unknown_name
from edifice_tt.contract.made import make_once
from edifice_tt.contract.records import Scorer
from edifice_tt.contract.tracing import blamed


def with_options(record: Scorer, name: str) -> Scorer:
    """The scorer that `name` asks for: this record, whose factory gets the options in the name.

    An option is a parameter of the factory with a default, whose type it has. Raises
    `UnknownNameError` for another option, and `ValueError` for a value that it cannot have.
    """
    known = {} if record.reads in ("hidden", "states") else _options(record)
    given: dict[str, Any] = {}
    for text in name.split(":")[1:]:
        option, equals, value = text.partition("=")
        if not equals or option in given:
            raise ValueError(
                f"scorer {name!r}: expected NAME:OPTION=VALUE, each option once, as in "
                "deepconf:part=tail:window=256"
            )
        if option not in known:
            raise unknown_name(f"option of scorer {record.name}", option, known)
        kind = type(known[option].default)
        try:
            given[option] = kind(value)
        except ValueError:
            words = {int: "a whole number", float: "a number"}.get(kind, kind.__name__)
            raise ValueError(f"scorer {name!r}: {option}={value} must be {words}") from None
    made = replace(record, name=name, factory=partial(record.factory, **given))
    with blamed(f"scorer {name!r} of {record.owner} failed", own=(ValueError,)):
        make_once(made, made.factory)  # a value that it refuses is told before anything is sampled
    return made


def _options(record: Scorer) -> dict[str, Parameter]:
    try:
        parameters = signature(record.factory).parameters
    except (TypeError, ValueError):  # a C function need not have one
        return {}
    return {n: p for n, p in parameters.items() if type(p.default) in (int, float, str)}
