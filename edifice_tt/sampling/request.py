"""What is to be sampled: every setting of a call, checked once. Knows no model and no prompt."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date as day
from typing import Any, TypedDict

from edifice_tt.contract.errors import unknown_name
from edifice_tt.contract.options import check_count, problem_seed
from edifice_tt.contract.records import CONFIDENCES
from edifice_tt.machine.toolchain import open_devices
from edifice_tt.sampling.draws import Sampler
from edifice_tt.selection.answers import find_answers

MOST_CANDIDATES = 1_000_000  # of one problem: as many are held in memory


class Sampling(TypedDict, total=False):
    """The fields of a `Request` as options that may be left out, for type checkers."""

    n: int
    seed: int
    temperature: float
    top_k: int
    top_p: float
    max_tokens: int
    stop: Iterable[str | int]
    template_options: Mapping[str, Any] | None
    date: str | None
    answer: str | None
    batch_size: int
    devices: Sequence[str] | None
    confidence: Sequence[str]


@dataclass(frozen=True, kw_only=True)
class Request:
    """The settings of `edifice_tt.generate`, which says what each of them does.

    Raises `ValueError` for those that cannot work, whatever the model, and `UnknownNameError` for
    an extractor that is not there.
    """

    n: int
    seed: int
    temperature: float
    top_k: int
    top_p: float
    max_tokens: int
    stop: Iterable[str | int]
    template_options: Mapping[str, Any] | None
    date: str | None
    answer: str | None
    batch_size: int
    devices: Sequence[str] | None
    confidence: Sequence[str]

    def __post_init__(self) -> None:
        if isinstance(self.stop, str):
            raise ValueError(
                f"stop={self.stop!r} must be a list of strings and token ids: [{self.stop!r}]"
            )
        if isinstance(self.confidence, str):
            raise ValueError(
                f"confidence={self.confidence!r} must be a list of names: [{self.confidence!r}]"
            )
        asked = tuple(self.confidence)
        for name in asked:
            if name not in CONFIDENCES:
                raise unknown_name("measure of confidence", name, CONFIDENCES)
        checked: dict[str, Any] = {
            "confidence": tuple(name for name in CONFIDENCES if name in asked),
            "n": check_count("n", self.n, MOST_CANDIDATES),
            "max_tokens": check_count("max_tokens", self.max_tokens),
            "batch_size": check_count("batch_size", self.batch_size),
            "stop": tuple(self.stop),
            "template_options": dict(self.template_options or {}),
        }
        if self.temperature == 0 and checked["n"] > 1:
            raise ValueError(
                f"temperature=0 always takes the most likely token, so with n={self.n} all "
                "candidates would be the same; use n=1 or a temperature above 0"
            )
        sampler = Sampler(self.temperature, self.top_k, self.top_p, self.seed)
        checked |= {"top_k": sampler.top_k, "seed": sampler.seed}
        if self.answer is not None:
            if not isinstance(self.answer, str):
                raise ValueError("the pool records answer=..., so it must be an extractor's name")
            find_answers(self.answer)
        vars(self).update(checked)

    def on(self, device: str) -> "Request":
        """The same for a model on `device`: the devices that share the work are open."""
        if self.devices is None:
            return self
        return replace(self, devices=open_devices(self.devices, device))

    def sampler(self, problem: str) -> Sampler:
        """How the candidates of one problem are drawn."""
        seed = problem_seed(self.seed, problem)
        return Sampler(self.temperature, self.top_k, self.top_p, seed)


def today() -> str:
    """The day, as a template is told it."""
    return day.today().isoformat()
