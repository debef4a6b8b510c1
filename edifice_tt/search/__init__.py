"""Search over rows: which to advance, which to drop or copy, when to stop. Registers the methods.

Knows texts, scores and numbers of tokens; knows no model and no tensor.
"""

import sys
from collections.abc import Callable
from pkgutil import resolve_name
from types import CodeType, FunctionType
from typing import Any

from edifice_tt.contract.hookspecs import hookimpl

FEWER = "problems end with different numbers of candidates, so a curve over k has no common n"
CUT = "the candidates that are left were chosen, so they are no fair sample: no curve over k"
COPIES = "the first 4 of 16 rows are not those of 4: rows are copies, chosen among all"


class _Room:
    # This room, by whose name `edifice_tt.search(...)` is called as well. `help` would show a
    # module's contents, so it says that it is a function.

    @property  # type: ignore[misc]
    def __class__(self) -> type:
        return FunctionType

    @property
    def __doc__(self) -> str | None:  # type: ignore[override]
        return self.__wrapped__.__doc__

    @property
    def __wrapped__(self) -> Callable[..., Any]:
        function: Callable[..., Any] = resolve_name("edifice_tt.live.search:search")
        return function

    @property
    def __code__(self) -> CodeType:
        return self.__wrapped__.__code__

    def __dir__(self) -> list[str]:  # without those by which the function would be imported
        return [name for name in self.__dict__ if not name.startswith("__")]

    def __repr__(self) -> str:
        return f"<function {__name__}>"

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        return self.__wrapped__(*arguments, **options)


_room = _Room()
_room.__dict__ = sys.modules[__name__].__dict__
sys.modules[__name__] = _room  # type: ignore[assignment]


@hookimpl
def register_searches(register: Callable[..., None]) -> None:
    from edifice_tt.search import confidence, gather, rejection, votes

    beta = "stop when the leading answer would win among ever more, by a Beta rule"
    source = "Aggarwal et al., 2023, arXiv:2305.11860"
    register("adaptive", votes.Adaptive, beta, ["answers"], source=source, breaks=FEWER)
    block = "stop after a block of equal answers"
    source = "Li et al., 2024, arXiv:2401.10480"
    register("window", votes.Window, block, ["answers"], source=source, breaks=FEWER)
    doubling = "look after 2, 4, 8, ... answers; stop when most are equal"
    source = "its_hub 1.2"
    register("doubling", votes.Doubling, doubling, ["answers"], source=source, breaks=FEWER)
    register("first", votes.First, "the first k rows, no rule: the baseline", ["answers"])
    cuts = "keep a share of the rows by their scores at each cut"
    source = "Sun et al., 2024, arXiv:2410.20290"
    register("rejection", rejection.Rejection, cuts, ["scores"], source=source, breaks=CUT)
    deep = "stop a row whose confidence falls below that of the first rows"
    source, needs = "Fu et al., 2025, arXiv:2508.15260", ["answers", "confidences"]
    register("confidence", confidence.Confidence, deep, needs, source=source, breaks=CUT)
    gathering: tuple[tuple[str, type[gather.Gather], list[str], str, str], ...] = (
        (
            "particles",
            gather.Particles,
            ["probabilities"],
            "draw the rows to go on with by the odds of their scores",
            "Puri et al., 2025, arXiv:2502.01618",
        ),
        (
            "rebase",
            gather.Rebase,
            ["scores"],
            "share the rows out by the softmax of their scores",
            "Wu et al., 2024, arXiv:2408.00724",
        ),
        (
            "beam",
            gather.Beam,
            ["scores"],
            "go on with the best rows, several copies of each",
            "Snell et al., 2024, arXiv:2408.03314",
        ),
        (
            "dvts",
            gather.Dvts,
            ["scores"],
            "several beams that do not compete with each other",
            "Beeching, Tunstall and Rush, 2024, Scaling test-time compute with open models",
        ),
    )
    for name, make, needs, summary, source in gathering:
        register(name, make, summary, needs, gathers=True, source=source, breaks=COPIES)
