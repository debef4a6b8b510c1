"""The trained heads that come with the package; as a plugin, this room registers them as scorers.

Each has a model card beside it with its training data, its gains, and where it does not help. Knows
names and files; opens none.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from edifice_tt.contract.hookspecs import hookimpl

_FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class ShippedVerifier:
    """A verifier file of this package, the catalog name of its model, and its tasks.

    `helps_with` are the tasks for which its card shows a gain in best-of-16. The gain is over both
    log-probability and majority, with intervals that exclude zero.
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
