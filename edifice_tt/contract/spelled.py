"""Signatures that spell out what `**options` takes, for `help` and for completion."""

from collections.abc import Callable, Collection
from inspect import Parameter, signature
from typing import Any, TypeVar

Function = TypeVar("Function", bound=Callable[..., Any])


def takes_options_of(
    source: Callable[..., Any], names: Collection[str] | None = None
) -> Callable[[Function], Function]:
    """Show the options of another function or dataclass in place of `**options`.

    Only those of these names, and none that is a parameter already.
    """

    def spell(function: Function) -> Function:
        plain = signature(function)
        own = {name: p for name, p in plain.parameters.items() if p.kind != p.VAR_KEYWORD}
        more = [
            parameter.replace(kind=Parameter.KEYWORD_ONLY)
            for name, parameter in signature(source).parameters.items()
            if name not in own and parameter.default is not parameter.empty
            if names is None or name in names
        ]
        spelled: Any = function
        spelled.__signature__ = plain.replace(parameters=[*own.values(), *more])
        return function

    return spell
