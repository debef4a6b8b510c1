"""The trained heads that come with the package, by name. Knows names and files; opens none.

Each has a model card beside it: what it was trained on, what it gained there, and where it does
not help.
"""

from dataclasses import dataclass
from pathlib import Path

from edifice_tt.errors import unknown_name

_FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class ShippedVerifier:
    """A verifier file of this package: the catalog's model that it reads, and what it is for.

    `helps_with` are the tasks in which, by its card, the best of 16 is more often right by it than
    by log-probability and than by majority, with intervals that hold no zero.
    """

    name: str
    model: str
    summary: str
    helps_with: tuple[str, ...]

    @property
    def path(self) -> Path:
        return _FOLDER / f"{self.name}.safetensors"

    @property
    def card(self) -> Path:
        return _FOLDER / f"{self.name}.md"


SHIPPED = (
    ShippedVerifier(
        "smollm2-verifier",
        "smollm2-135m",
        "short answers after solved examples",
        ("common-word", "largest", "longest-word", "removed-number", "repeated-word", "smallest"),
    ),
)


def list_verifiers() -> list[str]:
    """The names of the verifiers that come with the package, sorted.

    >>> list_verifiers()
    ['smollm2-verifier']
    """
    return sorted(one.name for one in SHIPPED)


def find_verifier(name: str) -> ShippedVerifier:
    """The record of that name; `UnknownNameError` when there is none."""
    for one in SHIPPED:
        if one.name == name:
            return one
    raise unknown_name("verifier", name, list_verifiers())
