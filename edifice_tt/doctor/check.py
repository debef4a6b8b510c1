"""The result of one check of the doctor."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Check:
    """One check; `ok` is None if it only informs."""

    name: str
    found: str
    ok: bool | None = None
    advice: str = ""
