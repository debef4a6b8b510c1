"""Installed distributions that look like plugins and are none. Knows metadata; imports nothing."""

import re
from collections.abc import Iterator
from difflib import get_close_matches
from importlib.metadata import Distribution, distributions

from edifice_tt.contract.plugins import GROUP, OWN_NAME, Failure, owner_of

_NEEDS_US = re.compile(r"edifice[-_.]+tt(?![-_.]?\w)(?!.*;.*\bextra\b)", re.IGNORECASE)
_SCRIPTS = {"console_scripts", "gui_scripts"}


def find_astray() -> list[Failure]:
    """Those whose entry points are in a group of nearly the right name, or that have none.

    Of the latter only those that depend on edifice_tt, which need not be plugins; and none that
    plugs into another program.
    """
    found: dict[str, Failure] = {}
    for distribution in distributions():
        try:
            name = distribution.name
            reasons = [*_reasons(distribution)] if name and name != OWN_NAME else []
        except Exception:  # its metadata are damaged
            continue
        if reasons:
            found.setdefault(name, Failure(name, owner_of(distribution), reasons[0]))
    return list(found.values())


def _reasons(distribution: Distribution) -> Iterator[str]:
    groups = {one.group for one in distribution.entry_points}
    for group in sorted(groups):
        if group != GROUP and _is_near(group):
            yield f"its entry point is in the group {group!r}, expected {GROUP!r}"
    if groups <= _SCRIPTS and any(map(_NEEDS_US.match, distribution.requires or ())):
        yield (
            f"it depends on {OWN_NAME} and has no entry point in the group {GROUP!r}; give it one "
            "if it is to be a plugin"
        )


def _is_near(group: str) -> bool:
    plain = re.sub(r"[-_.]", "", group.lower())
    return bool(get_close_matches(plain, ["edificett"], cutoff=0.8)) or plain.startswith(
        "edificett"
    )
