"""Problems and their missing candidates -> chunks of rows that one worker decodes together."""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from edifice_tt.sampling.prompts import TokenizedProblem
from edifice_tt.workers.items import Item

MOST = 16  # rows; halves of more have at least 8


class Chunk(NamedTuple):
    """A problem and the indices of some of its candidates."""

    problem: TokenizedProblem
    indices: Sequence[int]


def chunks(missing: Iterable[tuple[TokenizedProblem, Sequence[int]]]) -> Iterator[Item]:
    """The chunks of all problems, those with the longest prompts first."""
    for problem, indices in sorted(missing, key=lambda one: -len(one[0].ids)):
        parts = -(-len(indices) // MOST)
        for part in range(parts):
            some = indices[len(indices) * part // parts : len(indices) * (part + 1) // parts]
            yield Item(problem.problem, Chunk(problem, some))
