"""What the doctor found of one thing. Knows nothing else."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Check:
    """One thing that was looked at: `ok` is None where there is nothing to pass or fail."""

    name: str
    found: str
    ok: bool | None = None
    advice: str = ""
