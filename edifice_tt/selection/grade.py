"""Grades candidates: compares extracted answers with the gold answer. Knows text only."""

import warnings
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from edifice_tt.contract.errors import PluginError, PoolWarning
from edifice_tt.contract.shown import cut
from edifice_tt.contract.wording import counted
from edifice_tt.pools.candidates import Candidate
from edifice_tt.pools.given import check_pool
from edifice_tt.pools.pool import Pool
from edifice_tt.selection.answers import Named, find_answers, opened_thinking

GRADED = "graded"  # the setting that names the extractor of the marks


def grade(pool: Pool, answer: Named = "text") -> Pool:
    """Set `answer` and `correct` of each candidate from its text and the gold answer.

    `answer` names an extractor: `text`, `number`, `final_number`, `boxed`, `regex:PATTERN` or a
    plugin's; or it is a function that takes a text and returns its answer, or None. The settings
    keep its name as `graded`. It also reads the gold answer; if it finds nothing there, the gold
    answer is used unchanged. A `PoolWarning` tells where that is no answer of its kind. A candidate
    in which nothing is found gets the answer "" and is wrong. A candidate without a text keeps its
    answer. Raises `ValueError` for a pool without a gold answer, `UnknownNameError` for an unknown
    extractor. Raises `PluginError` for one that fails, with its owner, the problem and the texts.

    >>> pool = Pool("1 + 1?", (Candidate(0, "It is 2."), Candidate(1, "3.0")), gold="2.0")
    >>> [(c.answer, c.correct) for c in grade(pool, "number")]
    [('2', True), ('3', False)]
    """
    check_pool(pool, "grade each of several pools: [grade(pool, ...) for pool in pools]")
    graded = mark_pool(pool, answer)
    warn_of_golds({pool.problem: pool.gold}, answer)
    return graded


def mark_pool(pool: Pool, answer: Named) -> Pool:
    """`grade`, for whoever has looked at all gold answers."""
    if pool.gold is None:
        raise ValueError(
            f"problem {pool.problem!r} has no gold answer, so nothing can be graded; give it one"
        )
    try:
        mark = grader(answer, pool.gold, pool.prompt)
        settings = {**pool.settings, GRADED: name_of(answer)}
        return replace(pool, candidates=tuple(map(mark, pool)), settings=settings)
    except PluginError as error:
        gold = f"its right answer is {cut(pool.gold, 40)!r}"
        raise PluginError(f"problem {pool.problem!r} ({gold}): {error}") from error


def unread_golds(golds: Mapping[str, str | None], answer: Named) -> dict[str, str]:
    """The gold answers by problem that are no answer of the extractor's kind.

    None for an extractor that finds nothing in a bare answer, as `boxed`, for which a gold answer
    stands as it is. None for one with an `equal` of its own, which may know what it is.

    >>> unread_golds({"a": "7", "b": "four"}, "number"), unread_golds({"a": "7"}, "boxed")
    ({'b': 'four'}, {})
    """
    answers = find_answers(answer)
    if answers.equal is not None:
        return {}
    found = {name: answers.read_gold(gold) for name, gold in golds.items() if gold is not None}
    forms = [form for form in (*found.values(), answers.extract("1")) if form]
    if not any(answers.extract(form) == form for form in forms):
        return {}
    return {name: str(golds[name]) for name, form in found.items() if form is None}


def warn_of_golds(golds: Mapping[str, str | None], answer: Named | None) -> None:
    """Warn of gold answers, by problem, that are no answer of the extractor's kind."""
    if answer is None or not (unread := unread_golds(golds, answer)):
        return
    name, gold = next(iter(unread.items()))
    many = f"{len(unread):,} of {counted(len(golds), 'gold answer')}"
    told = f"{name_of(answer)!r} finds nothing in {many}, as in {gold!r:.60} of {name!r:.60}: it"
    warnings.warn(
        f"{told} counts as it stands; correct it, or name another extractor",
        PoolWarning,
        stacklevel=3,
    )


def warn_of_two(settings: Mapping[str, Any], answer: Named | None) -> None:
    """Warn if votes compare answers by another extractor than the one that marked them."""
    marked = graded_with(settings)
    if answer is not None and marked not in (None, name_of(answer)):
        warnings.warn(
            f"the candidates were marked by {marked!r}, and votes compare answers by "
            f"{name_of(answer)!r}; grade them with the latter, or leave it out",
            PoolWarning,
            stacklevel=3,
        )


def graded_with(settings: Mapping[str, Any]) -> str | None:
    """The extractor of the marks, by the settings of their pool; None where that is not known."""
    known: str | None = settings.get(GRADED, settings.get("answer"))
    return known


def name_of(answer: Named) -> str:
    """An extractor's name; a function is told from a name."""
    return answer if isinstance(answer, str) else find_answers(answer).name


def grader(
    answer: Named | None, gold: str | None, prompt: str = ""
) -> Callable[[Candidate], Candidate]:
    """What gives a candidate its `answer`, and `correct` where the gold answer is known.

    Without an extractor it leaves a candidate as it is. Thinking may begin in the prompt.
    """
    if answer is None:
        return lambda candidate: candidate
    answers = find_answers(answer)
    extract = answers.extract
    right = None if gold is None else answers.gold(gold)
    sign = opened_thinking(prompt)

    def mark(candidate: Candidate) -> Candidate:
        form = extract(sign + candidate.text) if candidate.text else candidate.answer
        if form is not None and not candidate.text:
            form = extract(form) or form.strip()
        correct = None if right is None else form is not None and answers.same(form, right)
        # An answer of None would mean that no extractor has read the candidate.
        return replace(candidate, answer=form or "", correct=correct)

    return mark
