"""The record of one sampled answer. Knows no model, tensor or format.

What each field means stands here; how it is written down, in `lines`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from edifice_tt.contract.shown import Shown, Table, first_of, quoted

RIGHT = {True: "right", False: "wrong", None: ""}
FINISH_REASONS = ("eos", "stop", "length", "dropped", "unknown")


@dataclass(frozen=True, repr=False)
class Candidate(Shown):
    """One sampled answer.

    `token_ids` and `token_logprobs` include the token that ended it; `text` does not.
    `token_logprobs` are natural logarithms under the untempered model. `finish_reason` is `eos`
    (the model ended it), `stop` (a stop string or token), `length` (it was cut off), or `unknown`
    where nobody has said. It is `dropped` if a search went on without it. `answer` is what a
    selector compares: "" if none was found, None if no extractor has read the text. `correct` is
    None if unknown. `num_tokens` counts the tokens even if their ids are not kept. `seconds` is the
    time from the start of its problem's sampling to its end, and is ignored in comparisons.
    `step_scores` are a process scorer's numbers, one per step. `token_confidences` says how sure
    the model was of each token: a number per token, by the name of the measure (see `generate`). It
    holds those that were asked for. A row that a search copied has a `parent`, the index of the
    other; the first `begun` of its tokens are that one's.
    """

    index: int
    text: str
    token_ids: tuple[int, ...] = ()
    token_logprobs: tuple[float, ...] = ()
    finish_reason: str = "unknown"
    answer: str | None = None
    correct: bool | None = None
    num_tokens: int = 0
    seconds: float | None = field(default=None, compare=False)
    scores: Mapping[str, float] = field(default_factory=dict)
    step_scores: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    token_confidences: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    parent: int | None = None
    begun: int = 0

    def __post_init__(self) -> None:
        if self.token_ids:
            object.__setattr__(self, "num_tokens", len(self.token_ids))

    @property
    def is_cut_off(self) -> bool:
        """Whether it ended because it had got as long as it might."""
        return self.finish_reason == "length"

    @property
    def is_dropped(self) -> bool:
        """Whether a search went on without it."""
        return self.finish_reason == "dropped"

    @property
    def is_whole(self) -> bool:
        """Whether it was neither cut off nor dropped, as far as that is known."""
        return self.finish_reason not in ("length", "dropped")

    def _line(self) -> str:
        parts = [quoted(self.text), self.finish_reason]
        parts += [f"{self.num_tokens} tokens"] if self.num_tokens else []
        parts += [f"answer {quoted(self.answer, 20)}"] if self.answer else []
        parts += [RIGHT[self.correct]] if self.correct is not None else []
        scores = f"; {first_of(self.scores)}" if self.scores else ""
        return f"{self.index}: {', '.join(parts)}{scores}"

    def _table(self) -> Table:
        rows: dict[str, object] = {"text": self.text, "ended by": self.finish_reason}
        rows |= {"tokens": self.num_tokens, "answer": self.answer}
        rows |= {"marked": RIGHT[self.correct], **self.scores}
        return (), rows.items()

    def to_dict(self) -> dict[str, Any]:
        """A plain dict for JSON, scores included."""
        plain = {name: getattr(self, name) for name in self.__dataclass_fields__}
        plain["scores"] = dict(self.scores)
        if self.parent is None:
            del plain["parent"], plain["begun"]
        for lists in ("step_scores", "token_confidences"):
            plain[lists] = {name: list(values) for name, values in plain[lists].items()}
        return plain
