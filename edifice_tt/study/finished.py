"""Advances the rows of a finished pool, as an engine would. Knows candidates; no search.

A row is a candidate, and what a model would have written is there already.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache

from edifice_tt.contract import registry
from edifice_tt.contract.errors import EdificeError
from edifice_tt.contract.tracing import blamed
from edifice_tt.pools.candidates import Candidate
from edifice_tt.search.method import Ask, Row, Until

Score = Callable[[Candidate, "Place"], float]


@dataclass(frozen=True)
class Place:
    """Where in a candidate a row stands: after so many tokens and, if they were asked for, steps.

    A pool does not tell where in a text its tokens end. So `tokens` is None within a candidate that
    was stopped at a step, and `text` is empty within one that was stopped at a token.
    """

    tokens: int | None = 0
    steps: int | None = None
    ended: bool = False
    text: str = ""


@dataclass
class Finished:
    """The candidates of a pool as rows, in a given order.

    `answers` are those of the candidates, `score` rates one as far as its row has come, and
    `measure` names the confidences to give.
    """

    candidates: Sequence[Candidate]
    answers: Sequence[str | None]
    score: Score | None = None
    measure: str | None = None
    places: dict[int, Place] = field(default_factory=dict)

    def advance(self, ask: Ask) -> list[Row]:
        """The rows as they stand after the ask. Raises `ValueError` for what the pool lacks."""
        for row in ask.rows:
            self.places[row] = self._next(row, ask.until)
        return [self._row(row, self.places[row]) for row in ask.rows]

    def _next(self, row: int, until: Until) -> Place:
        candidate, at = self.candidates[row], self.places.get(row, Place())
        end = Place(candidate.num_tokens, at.steps, True)
        if at.ended or until == Until():
            return end
        if until.delimiter is not None:
            if until.tokens is not None or until.word is not None:
                raise ValueError(
                    "steps that end at a text or else at a token cannot be replayed: a pool does "
                    "not tell where in a text its tokens end; give one of them"
                )
            steps = (at.steps or 0) + 1
            found = steps_of(candidate.text, until.delimiter)
            if steps >= len(found):
                return replace(end, steps=steps)
            return Place(None, steps, text="".join(found[:steps]))
        if at.tokens is None:
            raise ValueError("a row that stands at a step cannot go on by tokens in a pool")
        last = candidate.num_tokens
        if not last and candidate.text:
            raise ValueError(
                f"the tokens of candidate {candidate.index} are not counted, so it cannot be "
                "stopped at one; replay with a delimiter, or a search that runs rows to their ends"
            )
        if until.tokens is not None:
            last = min(last, at.tokens + until.tokens)
        for tokens in range(at.tokens + 1, last) if until.word is not None else ():
            there = Place(tokens)
            if until.word is not None and until.word(self._row(row, there, scored=False)):
                return there
        return Place(last, at.steps, last == candidate.num_tokens)

    def _row(self, row: int, at: Place, scored: bool = True) -> Row:
        candidate = self.candidates[row]
        confidences: tuple[float, ...] = ()
        if self.measure is not None:
            confidences = confidences_of(candidate, self.measure)[: at.tokens]
        return Row(
            row,
            text=candidate.text if at.ended else at.text,
            num_tokens=at.tokens,
            ended=at.ended,
            answer=self.answers[row] if at.ended else None,
            score=self.score(candidate, at) if self.score is not None and scored else None,
            logprobs=candidate.token_logprobs[: at.tokens],
            confidences=confidences,
        )


@lru_cache(maxsize=1024)
def steps_of(text: str, delimiter: str) -> list[str]:
    """The steps of a text, each with the delimiter that ends it.

    >>> steps_of("a. b. c", ". "), steps_of("a. ", ". "), steps_of("", ". ")
    (['a. ', 'b. ', 'c'], ['a. '], [''])
    """
    *steps, last = text.split(delimiter)
    whole = [step + delimiter for step in steps]
    return [*whole, last] if last or not whole else whole


def confidences_of(candidate: Candidate, measure: str) -> tuple[float, ...]:
    """How sure the model was of each token; raises `ValueError` where the pool does not tell."""
    held = candidate.token_confidences
    values: tuple[float, ...] = tuple(held.get(measure, ()))
    if not values or len(values) != candidate.num_tokens:
        raise ValueError(
            f"candidate {candidate.index} has {len(values)} confidences {measure!r} for "
            f"{candidate.num_tokens} tokens; this search needs one per token, which a pool holds "
            f"if it was sampled with them; it has: {', '.join(sorted(held)) or 'none'}"
        )
    return values


def reads_logprobs(scorer: str) -> bool:
    """Whether an installed scorer of that name rates any beginning by its log-probabilities."""
    record = registry.load_registry().scorers.get(scorer)
    return record is not None and record.reads == "logprobs"


def scores_of(scorer: str, delimiter: str | None) -> Score:
    """A function that rates a candidate as far as a row has come, by one scorer.

    One that reads log-probabilities can rate any beginning. Others need the number of each step in
    the pool, and a `delimiter` that tells where steps end. A whole candidate has its score.
    """
    of_logprobs = registry.scorer(scorer).factory() if reads_logprobs(scorer) else None

    def score(candidate: Candidate, at: Place) -> float:
        who = f"candidate {candidate.index}"
        if of_logprobs is not None and at.tokens is not None:
            if len(candidate.token_logprobs) != candidate.num_tokens:
                raise ValueError(
                    f"{who} has no log-probabilities of its tokens; scorer {scorer!r} cannot rate "
                    "a part of it"
                )
            with blamed(f"scorer {scorer!r} failed", own=(EdificeError, ValueError)):
                return float(of_logprobs([list(candidate.token_logprobs[: at.tokens])])[0])
        steps = candidate.step_scores.get(scorer, ())
        if at.steps is not None:
            found = len(steps_of(candidate.text, delimiter or ""))
            if len(steps) != found:
                raise ValueError(
                    f"{who} has {len(steps)} step scores of {scorer!r} and {found} steps by "
                    f"{delimiter!r}; give the delimiter by which the scorer told steps apart"
                )
            return steps[-1] if at.ended else steps[at.steps - 1]
        if at.ended and scorer in candidate.scores:
            return candidate.scores[scorer]
        if at.ended:
            raise ValueError(f"{who} has no score of {scorer!r}; score the pool, or name another")
        raise ValueError(
            f"the pool holds no score of {scorer!r} after {at.tokens} tokens of {who}; replay with "
            "a scorer of log-probabilities, as logprob, or one of steps and its delimiter"
        )

    return score
