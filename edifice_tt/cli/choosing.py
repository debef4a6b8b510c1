"""Sampling answers to one question, scoring them and choosing one, for commands that do it at once.

Knows arguments and public calls; no command.
"""

import argparse
from typing import TYPE_CHECKING, Any

import edifice_tt as et
from edifice_tt.cli import judging, options, terminal, votes
from edifice_tt.cli.parser import add_option, default_of
from edifice_tt.cli.rule_options import rule_options
from edifice_tt.contract.registry import load_registry
from edifice_tt.contract.wording import cut_off_of
from edifice_tt.scoring.shipped import SHIPPED

if TYPE_CHECKING:
    from edifice_tt.sampling.request import Request


def add_selection(command: argparse.ArgumentParser) -> None:
    """Add the rule, and what it goes by."""
    group = command.add_argument_group("the rule that selects")
    add_option(
        group,
        "selection.select:select",
        ("--rule", "--rules"),
        "{} (default), majority, weighted, weighted_logit, pessimistic, random, oracle, or a "
        "plugin's",
    )
    group.add_argument(
        "--scorer",
        help="whose scores to use, for best_of_n, weighted, weighted_logit and pessimistic; may be "
        "left out where there is one (best-of: what suits the prompt)",
    )
    group.add_argument(
        "--answer",
        help="what counts as one answer, for majority, weighted, weighted_logit and pessimistic: "
        f"{options.EXTRACTORS}",
    )
    group.add_argument(
        "--cut-off",
        choices=("abstain", "vote"),
        help="what answers do that were cut off, for majority, weighted, weighted_logit and "
        "pessimistic: abstain (default) or vote",
    )
    others = "another option of the rule: seed=3 for random, delta=0.05 for pessimistic; repeatable"
    group.add_argument("--option", action="append", default=[], metavar="NAME=VALUE", help=others)


class Chooser:
    """What scores candidates and chooses among them, as the arguments say.

    What can be wrong is found when it is made, before a model is loaded: it raises as the public
    calls do. `load` then opens the model, and what is left to check is checked.
    """

    def __init__(self, arguments: argparse.Namespace) -> None:
        from edifice_tt.scoring import steps
        from edifice_tt.selection import usable

        self.arguments, self.reads = arguments, None
        registry = load_registry()
        self.rule = registry.find("selector", arguments.rule)
        self.options = rule_options(arguments, self.rule)
        self.scorer = options.scorer_of(arguments)
        self.asks_itself = judging.asks_itself(arguments)
        self.judge = None if self.asks_itself else judging.load_judge(arguments)
        judged = self.judge is not None or self.asks_itself
        if self.scorer is None and arguments.verifier is None and not judged:
            self.scorer = _usual_scorer(arguments)
        self.verifier = options.open_verifier(arguments, self.scorer)
        if self.verifier is not None:
            usable.check_range(self.rule, self.verifier.name, "probability")
        elif self.judge is None and self.scorer is not None:
            record = registry.find("scorer", self.scorer)
            self.reads = record.reads
            usable.check_range(self.rule, record.name, record.range)
            steps.check_reduce(record, arguments.reduce)
        elif self.judge is not None:
            judging.check_fits(self.judge, self.rule, arguments.reduce)
        if self.rule.name == "oracle":
            raise ValueError(
                f"rule 'oracle' needs to know what is right, which {arguments.command} is not "
                "told; sample with `edifice-tt generate --problems FILE --answer ... -o POOL`, "
                "then `edifice-tt select`"
            )

    def load(self, devices: Any) -> Any:
        from edifice_tt.scoring import score

        lm = options.load(self.arguments, self.arguments.model, devices)
        if self.verifier is not None:
            self.verifier.check(lm)
        elif self.asks_itself:
            self.judge = judging.load_judge(self.arguments, lm)
            judging.check_fits(self.judge, self.rule, self.arguments.reduce)
        elif self.judge is None:
            score.check_scorer(lm, str(self.scorer))
        return lm

    def score(self, lm: Any, pool: Any) -> Any:
        by: Any = self.verifier or self.judge or self.scorer
        return et.score(lm, pool, scorer=by, reduce=self.arguments.reduce)

    def select(self, pool: Any) -> Any:
        """The rule's choice."""
        return et.select(pool, self.rule.name, **self.options)

    def show(self, pool: Any, choice: Any, max_tokens: int) -> str:
        """All candidates with their scores and answers, and the votes if the rule votes."""
        counted = [votes.tally(choice)] if choice and votes.votes(self.rule) else []
        if choice and votes.all_differ(self.rule, self.options, pool, choice):
            counted = [f"{counted[0]}; {votes.ALL_DIFFER}"]
        answers = votes.answers_of(pool, self.rule, self.options) if choice else []
        abstain = votes.votes(self.rule) and self.options.get("cut_off") != "vote"
        index = pool.picked if pool.picked is not None else choice and choice.index
        return table_of(pool, max_tokens, index, answers, counted, abstain)


def _usual_scorer(arguments: argparse.Namespace) -> str:
    """A shipped verifier if its card says that it helps here, else the log-probability."""
    for one in SHIPPED:
        if one.model == arguments.model and getattr(arguments, "task", None) in one.helps_with:
            terminal.tell(f"scored by {one.name}, which is for this task (else: --scorer logprob)")
            return one.name
    return str(default_of(options.SCORE, "scorer"))


def table_of(
    pool: Any,
    max_tokens: int,
    chosen: int | None = None,
    answers: Any = (),
    counted: Any = (),
    abstain: bool = False,
) -> str:
    """The candidates, what was counted, and how many of them were cut off."""
    cut = sum(candidate.is_cut_off for candidate in pool)
    table = terminal.show_candidates(pool, chosen, answers)
    lines = cut_off_lines(cut, len(pool), max_tokens, abstain)
    if any(candidate.is_cut_off and candidate.index == chosen for candidate in pool):
        lines = [f"{lines[0]} The chosen one is among them."]
    return "\n\n".join([table, *counted, *lines])


def cut_off_lines(cut: int, made: int, max_tokens: int, abstain: bool = False) -> list[str]:
    """The line about answers that were cut off, if there are any, and that they `abstain`."""
    told = [cut_off_of(cut, made, max_tokens)] if cut else []
    told += ["In votes they abstain, unless --cut-off vote is given."] if cut and abstain else []
    return [" ".join(told)] if told else []


def sample(lm: Any, prompt: str | list[dict[str, str]], request: "Request") -> Any:
    """The pool of a question, which Ctrl-C may have ended."""
    with terminal.sampling_progress(request.n) as on_token:
        pool = et.generate(lm, prompt, **vars(request), on_token=on_token)
    if pool.interrupted:
        terminal.tell(f"interrupted; {len(pool)} candidates are finished")
    return pool
