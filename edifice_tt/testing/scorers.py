"""Checks a scorer; those that read text or numbers of tokens are run here.

Knows the contract of a scorer; `heads` and `verifiers` check those kinds.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from copy import deepcopy
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from edifice_tt.contract import registry
from edifice_tt.contract.errors import EdificeError
from edifice_tt.contract.factories import make_scorer
from edifice_tt.contract.scorer_options import check_complete
from edifice_tt.pools.pool import Pool
from edifice_tt.scoring.judges.load import open_judge
from edifice_tt.scoring.score import asked_for
from edifice_tt.testing.elsewhere import ask_elsewhere
from edifice_tt.testing.examples import TEXTS
from edifice_tt.testing.heads import check_head
from edifice_tt.testing.promises import (
    TOLERANCE,
    BrokenPromise,
    attempt,
    check_options,
    compare,
    find,
    first_difference,
    orders,
)
from edifice_tt.testing.reading import check_value
from edifice_tt.testing.threads import check_threads
from edifice_tt.testing.verifiers import check_verifier

PROMPT = "How many primes are below 20?"
COMPLETIONS = (*TEXTS, TEXTS[0])  # one is repeated, as in real pools
QUESTION = Pool(PROMPT, (), gold="8")
Numbers = tuple[float, ...]  # for one item: a score, or one per step
Ask = Callable[[Pool, list[Any]], Any]
LOGPROBS = ([-0.5, -0.25], [-3.0], [-1e-6] * 40, [-20.0, -0.125, -1.5], [0.0], [-0.5, -0.25])


def check_scorer(
    name_or_factory: str | Callable[..., Any],
    reads: str | None = None,
    range: str | None = None,
    level: str | None = None,
    concurrency: int | None = None,
    per: str | None = None,
    **options: Any,
) -> None:
    """Raise `BrokenPromise` unless a scorer keeps the contract of `register_scorers`.

    Give the registered name, or a factory with the arguments of its registration: `reads`, and
    `range`, `level`, `concurrency` and `per` if not the defaults. With a name, these are compared.
    `options` go to the factory; `hidden_size` sets D of a head (16 by default).

    All scorers: scores are finite and in the declared range, and the same when repeated, in any
    order, with any neighbours and alone. Inputs stay unchanged. Heads: the shape is (B, T, 1),
    padding on the right changes nothing, and weights are Tensor attributes. Gradients reach each
    weight, save and load restore all, and every device works. Scorers of text: a list with one
    float per completion, or with one non-empty list of floats per completion if the level is step.
    The empty completion and the empty list are tried too, and a question whose gold answer is not
    known, which a `ValueError` may refuse. A registered name, or a function of a module, is asked
    in a second process as well, unless it asks a service. Scorers that declare `concurrency`: one
    object gives that many threads the scores that it gives one. Judges: as scorers of text.
    Verifiers: their file is valid; no model is needed.

    A head may have no weights if it can reach no Tensor or array, which would not be saved. This
    covers its attributes, class, closures, defaults and named globals.

    Raises `UnknownNameError` for an unknown name and `ValueError` for a factory without `reads`.

    >>> check_scorer("logprob", reads="logprobs")
    >>> check_scorer(lambda: lambda prompt, completions: [len(c) for c in completions], "text")
    Traceback (most recent call last):
    edifice_tt.testing.promises.BrokenPromise: scorer '<lambda>' gives 12, an int, for 'There are \
8.', expected a float; wrap it in float(...)
    """
    declared: dict[str, Any] = {"reads": reads, "range": range, "level": level}
    declared |= {"concurrency": concurrency, "per": per}
    if reads is None and not isinstance(name_or_factory, str):
        raise ValueError(
            "reads=None: a factory does not tell what its scorer reads; give reads='hidden', "
            "'text', 'logprobs', 'states' or 'judge'"
        )
    factory: Any = name_or_factory
    arguments = {k: v for k, v in declared.items() if v is not None}
    register = partial(registry.Scorer, factory=factory, **arguments)
    who, record = find("scorer", factory, register, **declared)
    own = options.keys() - ({"hidden_size"} if record.reads == "hidden" else set())
    check_options("scorer", record.name, record.factory, own)
    if record.reads == "hidden":
        name = record.name if isinstance(name_or_factory, str) else None
        return check_head(who, record, name, options)
    if record.reads == "states":
        return check_verifier(who, record)
    if record.reads == "judge":
        judge = attempt(who, "when it is opened", lambda: open_judge(record))
        record = replace(record, reads="text", factory=lambda: judge)
        name_or_factory = record.factory
    make = partial(ask_of, who, record, options)
    _check_lists(who, lambda: partial(make(), QUESTION), record, *_items(record.reads))
    if record.reads == "text":
        _check_without_gold(who, make(), record)
        found = ask_elsewhere(name_or_factory, record.per, options, COMPLETIONS)
        if found is not None:
            _check_same(who, make()(QUESTION, list(COMPLETIONS)), found, record)
    if record.concurrency > 1:
        ask, again = (partial(_ask_about, who, record, make()) for _ in "12")
        check_threads(who, ask, again, COMPLETIONS, record.concurrency)
    return None


def _ask_about(who: str, record: registry.Scorer, ask: Ask, number: int, item: str) -> Numbers:
    """The numbers for a completion of the question of that number."""
    question = Pool(f"{PROMPT} ({number})", (), problem=str(number), gold=str(number))
    return _read_values(who, ask(question, [item]), [item], "completion", record)[0]


def ask_of(who: str, record: registry.Scorer, options: dict[str, Any]) -> Ask:
    """A new scorer, as a function of a question and a batch."""
    made = replace(record, factory=partial(record.factory, **options))
    attempt(who, "when it is made", partial(check_complete, made))
    scorer = attempt(who, "when it is made", partial(make_scorer, made))

    def ask(question: Pool, batch: list[Any]) -> Any:
        if record.reads != "text":
            return scorer(batch)
        if record.per == "answer" and len(batch) != 1:
            return [value for item in batch for value in ask(question, [item])]
        return scorer(question.prompt, batch, **asked_for(scorer, question))

    return ask


def _check_without_gold(who: str, ask: Ask, record: registry.Scorer) -> None:
    """Check a scorer where the right answer is not known; it may refuse that."""
    values = attempt(
        who,
        "where gold=None, as in a pool without the right answer",
        lambda: _unless_refused(partial(ask, replace(QUESTION, gold=None), list(COMPLETIONS))),
        "give a score, or refuse by a ValueError",
    )
    if values is not None:
        _read_values(who, values, COMPLETIONS, "completion", record)


def _check_same(who: str, here: Any, there: Any, record: registry.Scorer) -> None:
    """Check that two processes, in which texts hash to different numbers, give the same scores."""
    both = (
        _read_values(who, values, COMPLETIONS, "completion", record) for values in (here, there)
    )
    for text, one, other in zip(COMPLETIONS, *both, strict=True):
        pair = np.array(one), np.array(other)
        if len(one) != len(other) or first_difference(*pair, TOLERANCE) is not None:
            first, second = (", ".join(f"{x:.6g}" for x in numbers) for numbers in (one, other))
            raise BrokenPromise(
                f"{who}: {text!r:.30} gets {first} in this process and {second} in another; the "
                "order of a set, and what hash() gives for a text, are of one process: sort, and "
                "hash with hashlib"
            )


def _unless_refused(call: Callable[[], Any]) -> Any:
    """What a call gives, None if that is refused."""
    with suppress(ValueError, EdificeError):
        return call()
    return None


def _items(reads: str) -> tuple[str, Sequence[Any]]:
    """What a scorer is tried on, and what one of them is called."""
    if reads == "text":
        return "completion", COMPLETIONS
    sign = -1 if reads in registry.CONFIDENCES else 1  # these are never below 0
    return "list", [[sign * value for value in one] for one in LOGPROBS]


def _check_lists(
    who: str, make: Callable[[], Any], record: registry.Scorer, noun: str, items: Sequence[Any]
) -> None:
    scorer = make()

    def ask(batch: Sequence[Any], scorer: Callable[[list[Any]], Any] = scorer) -> list[Numbers]:
        mine = deepcopy(list(batch))
        what = f"the {noun} {batch[0]!r:.30}" if len(batch) == 1 else f"{len(batch)} {noun}s"
        values = attempt(who, f"on {what}", lambda: scorer(mine))
        numbers = _read_values(who, values, batch, noun, record)
        if mine != list(batch):
            raise BrokenPromise(f"{who} changes its input: {_change(batch, mine)}; work on a copy")
        return numbers

    def same(
        scores: list[Numbers],
        numbers: str,
        cause: str = "the score depends on its neighbours in the batch",
        order: Sequence[int] = (),
    ) -> None:
        for i, (mine, others) in enumerate(zip(together, scores, strict=True)):
            places = numbers % (i, order.index(i)) if order else numbers
            subject = f"{who}: {cause}: {items[i]!r:.30} gets"
            if len(mine) != len(others):
                steps = places.format(f"{len(mine)} steps", f"{len(others)} steps")
                raise BrokenPromise(f"{subject} {steps}")
            compare(subject, np.array(mine), np.array(others), places)

    # One by one first, so that the error names the item that fails.
    alone = [ask([item])[0] for item in items]
    together = ask(items)
    cause, advice = "the same input gets another score", "draw no random numbers"
    same(ask(items), f"{{}} at first and then {{}}; {advice}", cause)
    same(ask(items, make()), f"{{}} from one scorer and {{}} from the next; {advice}", cause)
    for order in orders(len(items)):
        moved = ask([items[i] for i in order])
        back = [moved[order.index(i)] for i, _ in enumerate(items)]
        places = "{} in place %d and {} in place %d; score each by itself"
        same(back, places, "the score depends on the order of the batch", order)
    same(alone, f"{{}} among {len(items)} and {{}} alone; score each by itself")
    # A realistic number of items, and a fresh scorer that starts with another one.
    many = ask([*items] * 4)[: len(items)]
    same(many, f"{{}} among {len(items)} and {{}} among {4 * len(items)}; score each by itself")
    later = ask([*items[1:], items[0]], make())
    begun = f"{{}} and, beginning with another {noun}, {{}}; keep nothing between calls"
    same([later[-1], *later[:-1]], begun, "the score depends on earlier calls")
    found = attempt(who, f"on no {noun}s", lambda: scorer([]))
    if found not in ([], ()):
        raise BrokenPromise(f"{who} gives {found!r:.60} for no {noun}s, expected []")


def _read_values(
    who: str, values: Any, batch: Sequence[Any], noun: str, record: registry.Scorer
) -> list[Numbers]:
    """The checked results: per item one number, or one per step."""
    by_step = record.level == "step"
    if not isinstance(values, list | tuple):
        words = f"{values!r:.60}" if values is None else _a(values)
        one = "list of floats" if by_step else "float"
        raise BrokenPromise(f"{who} gives {words}, expected a list with one {one} per {noun}")
    if len(values) != len(batch):
        what = f"{noun} {batch[0]!r:.30}" if len(batch) == 1 else f"{noun}s"
        raise BrokenPromise(
            f"{who} gives {len(values)} scores for {len(batch)} {what}, expected one for each"
        )
    for item, value in zip(batch, values, strict=True):
        if by_step and (not isinstance(value, list | tuple) or not value):
            words = "no step" if value in ([], ()) else f"{value!s:.60}, {_a(value)},"
            raise BrokenPromise(
                f"{who} gives {words} for {item!r:.30}, expected a list of floats, one per step "
                "and at least one"
            )
        for number in value if by_step else (value,):
            _check_number(who, number, f"{item!r:.30}", record.range)
    return [tuple(value) if by_step else (value,) for value in values]


def _check_number(who: str, value: Any, item: str, range: str) -> None:
    gives = f"{who} gives {value!s:.60}"
    if not isinstance(value, float):
        raise BrokenPromise(
            f"{gives}, {_a(value)}, for {item}, expected a float; wrap it in float(...)"
        )
    check_value(f"{gives} for {item}", value, range)


def _change(before: Sequence[Any], after: Sequence[Any]) -> str:
    if len(before) != len(after):
        return f"{len(before)} were given, {len(after)} are left"
    i = next(i for i, pair in enumerate(zip(before, after, strict=True)) if pair[0] != pair[1])
    return f"{before[i]!r:.30} in place {i} became {after[i]!r:.30}"


def _a(value: Any) -> str:
    kind = type(value).__name__
    return f"{'an' if kind[0] in 'aeiou' else 'a'} {kind}"
