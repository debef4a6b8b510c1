"""Selects the problems that a report shows. Knows pools and rules; no page.

A report must open fast for any pool size, so it shows the first problems up to a limit.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from edifice_tt.contract import registry
from edifice_tt.contract.errors import EdificeError, PluginError
from edifice_tt.pools.candidates import Candidate
from edifice_tt.pools.descent import Branch, tree_of
from edifice_tt.pools.pool import Pool, PoolFile
from edifice_tt.pools.question import question_text, tell_apart, turns_of
from edifice_tt.selection.places import reader_of
from edifice_tt.selection.select import Rule
from edifice_tt.study.records import Curve, RuleCurve

MOST_PROBLEMS = 200
MOST_CHARACTERS = 4_000_000  # for all problems together
MOST_OF_A_PROBLEM = 400_000
MOST_OF_A_TEXT = 20_000
MOST_OF_A_LINE = 200
_FIELDS = 120  # characters per candidate besides its text and answer, roughly


@dataclass(frozen=True)
class Listing:
    """The shown problems, ready for JSON, and counts of what was left out.

    `choices` are the labels of the rules that choose. `problems_left_out` counts problems;
    `candidates_left_out` and `texts_cut` count within the shown ones.
    """

    choices: tuple[str, ...]
    problems: tuple[dict[str, Any], ...]
    problems_left_out: int
    candidates_left_out: int
    texts_cut: int


def collect(
    pools: Iterable[Pool],
    curve: Curve,
    answer: str | None = None,
    everything: bool = False,
    searches: Sequence[tuple[str, PoolFile]] = (),
) -> Listing:
    """Collect the problems of a report; stops reading `pools` at the limit.

    Each has the trees of those `searches` that were made on it, by their names.
    """
    # The ceiling knows the answer and the baseline is random: their choices show nothing.
    rules = [rule for rule in curve.rules if rule.rule not in ("oracle", "random")]
    registered = registry.load_registry()
    cut_off = curve.cut_off.votes if curve.cut_off else None
    choosers = [_chooser(registered, rule, answer, cut_off) for rule in rules]
    problems: list[dict[str, Any]] = []
    questions: list[str] = []
    used = left_out = cut = 0
    leave_out = curve.unfinished is not None and not curve.unfinished.used
    for pool in pools:
        if leave_out and pool.num_missing:
            continue
        limits = (MOST_OF_A_PROBLEM, MOST_OF_A_TEXT)
        turns, prompt = turns_of(pool), str(pool.prompt)
        asked = [prompt, *(text for _, text in turns)]
        if everything:
            longest = max(map(len, [*asked, *(candidate.text for candidate in pool)]))
            limits = (_size(pool.candidates), longest)
        elif len(problems) == MOST_PROBLEMS or used >= MOST_CHARACTERS:
            break
        place_of = reader_of(pool)
        choices = [choose(pool) for choose in choosers]
        candidates = _kept(pool, limits[0], {index for index in choices if index is not None})
        used += _size(candidates) + sum(min(len(text), limits[1]) for text in asked)
        left_out += len(pool) - len(candidates)
        found = [
            (name, file.pool(pool.problem))
            for name, file in searches
            if pool.problem in file.problems
        ]
        trees = [_tree(name, searched, limits[1]) for name, searched in found]
        used += sum(_size(searched.candidates) for _, searched in found)
        rows = (row.text for _, searched in found for row in searched)
        texts = (*asked, *(candidate.text for candidate in candidates), *rows)
        cut += sum(len(text) > limits[1] for text in texts)
        questions.append(question_text(pool))
        problems.append(
            {
                "id": pool.problem,
                "turns": [[role, _cut(text, limits[1])] for role, text in turns],
                "prompt": _cut(prompt, limits[1]),
                "gold": pool.gold,
                "total": len(pool),
                "right": sum(candidate.correct is True for candidate in pool),
                "chosen": choices,
                "candidates": [
                    _plain(candidate, limits[1], curve, place_of(candidate))
                    for candidate in candidates
                ],
                "searches": trees,
            }
        )
    for problem, question in zip(problems, tell_apart(questions), strict=True):
        problem["line"] = " ".join(question[:MOST_OF_A_LINE].split())
    return Listing(
        choices=tuple(rule.label for rule in rules),
        problems=tuple(problems),
        problems_left_out=curve.problems - len(problems),
        candidates_left_out=left_out,
        texts_cut=cut,
    )


def _chooser(
    registered: registry.Registry, rule: RuleCurve, answer: str | None, cut_off: str | None
) -> Callable[[Pool], int | None]:
    """A function from a pool to the index that `select` chooses; None if it cannot choose."""
    options: dict[str, Any] = {} if rule.scorer is None else {"scorer": rule.scorer}
    record = registered.find("selector", rule.rule)
    if answer is not None and record.takes("answer"):
        options["answer"] = answer
    if cut_off is not None and "cut_off" in record.options:
        options["cut_off"] = cut_off
    chooser = Rule.find(registered, rule.rule, options)

    def choose(pool: Pool) -> int | None:
        try:
            return chooser.choose(pool).index
        except PluginError:
            raise
        except (EdificeError, ValueError):
            return None

    return choose


def _kept(pool: Pool, most: int, choices: set[int]) -> list[Candidate]:
    """The first candidates within the character limit, and those that a rule chose."""
    sizes = accumulate(_size([candidate]) for candidate in pool)
    candidates = [
        c for c, size in zip(pool, sizes, strict=True) if size <= most or c.index in choices
    ]
    return candidates or list(pool.candidates[:1])


def _size(candidates: Sequence[Candidate]) -> int:
    return sum(min(len(c.text), MOST_OF_A_TEXT) + len(c.answer or "") + _FIELDS for c in candidates)


def _cut(text: str, most: int) -> str:
    over = len(text) - most
    return text[:most] + (f"\n[... {over} characters left out]" if over > 0 else "")


def _plain(
    candidate: Candidate, most: int, curve: Curve, place: tuple[int, int] | None
) -> dict[str, Any]:
    shown = place if place and place[1] <= most else ()
    return {
        "index": candidate.index,
        "text": _cut(candidate.text, most),
        "answer": candidate.answer or None,
        "right": candidate.correct is True,
        "tokens": candidate.num_tokens or None,
        "seconds": candidate.seconds,
        "end": None if candidate.finish_reason == "unknown" else candidate.finish_reason,
        "scores": [candidate.scores.get(one.scorer) for one in curve.scorers],
        **({"read": [_units(candidate.text[:at]) for at in shown]} if shown else {}),
    }


def _units(text: str) -> int:
    """The length of a text where a page's script counts it: in units of 16 bits."""
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def _tree(name: str, pool: Pool, most: int) -> dict[str, Any]:
    """What a search did on a problem: its costs, and its rows in the order of their tree."""
    books = dict(pool.search or {})
    costs = ("spent", "kept_tokens", "judge_tokens", "row")
    told = {cost: books.get(cost) for cost in costs}
    rows = [_branch(branch, books.get("scorer"), most) for branch in tree_of(pool)]
    return {"name": name, "by": books.get("scorer"), **told, "rows": rows}


def _branch(branch: Branch, scorer: str | None, most: int) -> dict[str, Any]:
    row = branch.candidate
    return {
        "index": row.index,
        "depth": branch.depth,
        "fate": branch.fate,
        "parent": row.parent,
        "begun": row.begun,
        "tokens": row.num_tokens,
        "score": row.scores.get(scorer or ""),
        "earlier": branch.earlier,
        "answer": row.answer or None,
        "right": row.correct,
        "text": _cut(row.text, most),
    }
