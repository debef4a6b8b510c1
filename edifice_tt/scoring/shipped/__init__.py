"""The trained heads that come with the package; as a plugin, this room registers them as scorers.

Each has a model card beside it: what it was trained on, what it gained there, and where it does
not help. Knows names and files; opens none.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from edifice_tt.contract.hookspecs import hookimpl

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


@hookimpl
def register_scorers(register: Callable[..., None]) -> None:
    for one in SHIPPED:
        register(one.name, one.path, reads="states", model=one.model, summary=one.summary)
