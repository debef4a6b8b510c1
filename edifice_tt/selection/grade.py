"""Grades candidates: compares extracted answers with the gold answer. Knows text only."""

from collections.abc import Callable
from dataclasses import replace

from edifice_tt.contract.errors import PluginError
from edifice_tt.contract.shown import cut
from edifice_tt.pools.candidates import Candidate
from edifice_tt.pools.pool import Pool, check_one_pool
from edifice_tt.selection.answers import Named, find_answers, opened_thinking


def grade(pool: Pool, answer: Named = "text") -> Pool:
    """Set `answer` and `correct` of each candidate from its text and the gold answer.

    `answer` names an extractor: `text`, `number`, `boxed`, `regex:PATTERN` or a plugin's; or it is
    a function that takes a text and returns its answer, or None. It also
    reads the gold answer; if it finds nothing there, the gold answer is used unchanged. A candidate
    in which nothing is found gets the answer "" and is wrong. A candidate without a text keeps its
    answer. Raises `ValueError` for a pool without a gold answer, `UnknownNameError` for an unknown
    extractor. Raises `PluginError` for one that fails, with its owner, the problem and the texts.

    >>> pool = Pool("1 + 1?", (Candidate(0, "It is 2."), Candidate(1, "3.0")), gold="2.0")
    >>> [(c.answer, c.correct) for c in grade(pool, "number")]
    [('2', True), ('3', False)]
    """
    check_one_pool(pool, "grade each of several pools: [grade(pool, ...) for pool in pools]")
    if pool.gold is None:
        raise ValueError(
            f"problem {pool.problem!r} has no gold answer, so nothing can be graded; give it one"
        )
    try:
        mark = grader(answer, pool.gold, pool.prompt)
        return replace(pool, candidates=tuple(map(mark, pool)))
    except PluginError as error:
        gold = f"its right answer is {cut(pool.gold, 40)!r}"
        raise PluginError(f"problem {pool.problem!r} ({gold}): {error}") from error


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
