"""A search as it was asked for, checked before anything is sampled. Knows no row."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from edifice_tt.architectures.causal_lm import CausalLM
from edifice_tt.contract import registry
from edifice_tt.contract.options import check_count
from edifice_tt.live.scorers import RowScorer, row_scorer
from edifice_tt.sampling.generate import check_memory, make_request
from edifice_tt.sampling.prompts import TokenizedProblem
from edifice_tt.sampling.request import Request
from edifice_tt.sampling.settings import describe_sampling
from edifice_tt.sampling.stops import Stops
from edifice_tt.scoring.judges.judge import Judge
from edifice_tt.scoring.verifier import Verifier
from edifice_tt.search.loop import check_options, make_search
from edifice_tt.search.method import Method

USUAL = "deepconf"  # what is read of how sure the model is
SCORES = {"scores", "probabilities"}


@dataclass(frozen=True)
class Plan:
    """A search as it was asked for: its method with settings, its scorer, and the sampling."""

    lm: CausalLM
    record: registry.Search
    method: Method
    settings: Mapping[str, Any]
    scorer: RowScorer | None
    request: Request
    budget: int | None

    @classmethod
    def of(
        cls,
        lm: CausalLM,
        method: str,
        scorer: Any,
        settings: Mapping[str, Any],
        budget: int | None,
        reduce: str | None,
        **sampling: Any,
    ) -> "Plan":
        """Check everything that can be wrong before anything is sampled."""
        record, settings = check_options(method, settings), dict(settings)
        needs = {*record.needs}
        if record.takes("seed"):
            settings.setdefault("seed", sampling.get("seed", 0))
        if needs & SCORES and scorer is None:
            raise ValueError(f"search {method!r} reads the scores of rows; name a scorer")
        if scorer is not None and not needs & SCORES:
            raise ValueError(f"search {method!r} reads no scores; leave the scorer out")
        if reduce is not None and scorer is None:
            raise ValueError(f"reduce={reduce!r} is for a scorer of steps, and there is no scorer")
        if budget is not None:
            check_count("budget", budget)
        if "confidences" in needs:
            sampling["confidence"] = sampling.get("confidence") or (USUAL,)
            if len(sampling["confidence"]) > 1:
                raise ValueError(
                    f"search {method!r} reads one number per token, given confidence="
                    f"{[*sampling['confidence']]}; name one"
                )
        made = make_search(method, **settings)
        request = make_request(n=made.n, **sampling).on(lm.device)
        reader = None if scorer is None else row_scorer(lm, scorer, reduce)
        declares = isinstance(scorer, str | Verifier | Judge)
        if reader and declares and "probabilities" in needs and reader.range != "probability":
            raise ValueError(
                f"search {method!r} reads probabilities, and scorer {reader.name!r} declares "
                f"range={reader.range!r}; use one that gives them"
            )
        return cls(lm, record, made, settings, reader, request, budget)

    @property
    def rows(self) -> int:
        """How many rows are alive at a time: those that it asks for first."""
        return len(self.method.ask(self.method.start()).rows)

    def check_memory(self, problems: Iterable[TokenizedProblem]) -> None:
        """Raise `EdificeError` when the memory does not hold all rows that are alive at a time."""
        held = max(self.request.batch_size, self.rows)
        check_memory(self.lm, replace(self.request, batch_size=held), problems, self.rows)

    def describe(self, stops: Stops, *, chat: bool, tells_date: bool) -> dict[str, Any]:
        """The settings of the pool: no number of candidates, for a search decides that."""
        settings = describe_sampling(self.lm, self.request, stops, chat=chat, tells_date=tells_date)
        del settings["n"]
        plain = {k: [*v] if isinstance(v, tuple) else v for k, v in self.settings.items()}
        search = {"search": self.record.name, "n": self.method.n, **plain}
        settings["search"] = {k: v for k, v in search.items() if not callable(v)}
        settings["budget"] = self.budget
        return settings
