"""Commands on pool files: score, select, grade, import-pool, merge."""

import argparse
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import edifice_tt as et
from edifice_tt.cli import (
    asking,
    choosing,
    judging,
    options,
    outputs,
    scoring,
    terminal,
    totals,
    votes,
    work,
    workers,
)
from edifice_tt.cli.options import Add
from edifice_tt.cli.parser import add_option, whole_number
from edifice_tt.cli.rule_options import rule_options
from edifice_tt.contract import registry
from edifice_tt.contract.errors import EdificeError, PluginError
from edifice_tt.contract.records import RANGES
from edifice_tt.contract.tracing import message_of
from edifice_tt.contract.wording import held

HEADING = "pool files"
_FIELDS = {
    "prompt": "the question (default: prompt, or the chat in messages)",
    "gold": "the right answer (default: gold, or answer)",
    "problem": "the id of the problem (default: problem)",
    "completions": "the texts, a list; or the text, if a row is a candidate (default: completions, "
    "responses or generations)",
    "scores": "their scores (default: scores; score, if a row is a candidate)",
    "correct": "the marks of what is right (default: correct or is_correct)",
}


def register(add: Add) -> None:
    summary = "add a scorer's scores to a pool file"
    groups = (options.add_loading, options.add_scoring, judging.add_judging)
    score = add("score", _score, summary, *groups)
    score.add_argument(
        "--resume", action="store_true", help="score only what this scorer has not scored yet"
    )
    score.add_argument(
        "--concurrency",
        type=whole_number(1, "8"),
        metavar="N",
        help="calls at once, for a scorer of text that waits for answers: of problems, or of "
        "answers where it declares per='answer' (default: as the scorer declares)",
    )
    workers.add_workers(score)
    score.add_argument("pool", type=Path, help="pool file; the scores are appended")
    add_option(
        score, options.SCORE, "--scorer", "a scorer of edifice-tt list (default: {})", unset=True
    )
    score.add_argument(
        *("-m", "--model"),
        help="model, for a scorer that reads hidden states "
        f"(of a verifier: its own, or {options.DEFAULT_MODEL}, unless told otherwise)",
    )
    select = add("select", _select, "choose a candidate of each problem", choosing.add_selection)
    select.add_argument("pool", type=Path, help="pool file")
    options.add_first(select)
    grade = add("grade", _grade, "mark which candidates of a pool file are right")
    grade.add_argument("pool", type=Path, help="pool file with gold answers; it is rewritten")
    grade.add_argument(
        "--answer", required=True, help=f"how to extract answers: {options.EXTRACTORS}"
    )
    golds = "the problems again, for right answers that the pool file lacks"
    grade.add_argument("--problems", type=Path, metavar="FILE", help=golds)
    asking.add_reading(grade)
    take = add("import-pool", _import, "make a pool file of candidates sampled elsewhere")
    which = take.add_mutually_exclusive_group(required=True)
    which.add_argument(
        "source",
        nargs="?",
        type=Path,
        help="JSON lines, a .parquet or a .csv with candidates; answers of a server, samples of "
        "lm-eval, or a log of Inspect",
    )
    saved = "a data set: such a table, an .arrow, or a folder of Hugging Face's save_to_disk"
    which.add_argument("--dataset", type=Path, metavar="FILE", help=saved)
    told = "name of their scores (default: {}); of a log of Inspect: who says what is right"
    add_option(take, "pools.foreign:import_pools", "--scorer", told)
    take.add_argument(
        "--range",
        choices=RANGES,
        metavar="RANGE",
        help="what their scores are: probability, logit or unbounded (default: unknown)",
    )
    take.add_argument("--model", help="name of the model that sampled them")
    fields = take.add_argument_group("fields of data sets")
    for part, what in _FIELDS.items():
        fields.add_argument(f"--{part}-field", metavar="NAME", help=f"the field of {what}")
    take.add_argument("--answer", help=f"extract answers and mark them: {options.EXTRACTORS}")
    merge = add("merge", _merge, "unite pool files of one model and one sampling")
    merge.add_argument("pools", type=Path, nargs="+", help="pool files; later scores count")
    merge.set_defaults(holds_what_it_reads=True)
    for command in (take, merge):
        outputs.add_output(command, "pool file to write", required=True)


def _score(arguments: argparse.Namespace) -> int:
    asked = judging.is_asked_for(arguments)
    workers.check(arguments)
    return scoring.score_file(arguments, judging.open_work if asked else work.open_work)


def _select(arguments: argparse.Namespace) -> None:
    from edifice_tt.pools.index import leading
    from edifice_tt.selection.grade import warn_of_two
    from edifice_tt.selection.select import Rule, unfinished
    from edifice_tt.study.remarks import first_of_each

    registered = registry.load_registry()  # once, not for each problem
    rule_settings = rule_options(arguments, registered.find("selector", arguments.rule))
    if arguments.scorer is not None:
        rule_settings["scorer"] = arguments.scorer
    rule = Rule.find(registered, arguments.rule, rule_settings)
    rows: list[tuple[Any, bool, Any]] = []
    remarks, alone, cuts = list[str](), list[str](), list[int]()
    reason: Exception | None = None
    file = options.open_pools(arguments)
    warn_of_two(file.settings, rule_settings.get("answer"))
    for pool in _telling(file):
        if pool.num_missing:
            remarks.append(unfinished(pool))
        if "answer" in rule.record.options and "answer" not in rule_settings:
            _check_looked_at(file, pool)
        try:
            choice = rule.choose(pool)
        except (EdificeError, ValueError) as error:
            reason, choice = reason or error, None
        if choice and rule_settings.get("cut_off") != "vote":
            cuts.append(min(sum(not one.is_whole for one in pool), choice.abstained))
        if choice and votes.all_differ(rule.record, rule_settings, pool, choice):
            alone.append(pool.problem)
        is_marked = all(candidate.correct is not None for candidate in pool)
        rows.append((replace(pool, candidates=()), is_marked, choice))
    all_differ = bool(alone) and len(alone) == sum(choice is not None for *_, choice in rows)
    hint = [votes.ALL_DIFFER] if all_differ else []
    if remarks:
        many = f"{len(remarks)} of {len(rows)} problems {'is' if len(remarks) == 1 else 'are'}"
        shared = first_of_each(min(map(leading, file.indices.values())))
        terminal.warn(f"{many} unfinished: {remarks[0]}{shared}")
    if reason is not None and not any(choice for *_, choice in rows):
        raise reason
    plain: list[dict[str, Any]] = [
        {
            "problem": pool.problem,
            "gold": pool.gold,
            "choice": choice and choice.to_dict(),
            "right": choice and choice.candidate.correct,
        }
        for pool, _, choice in rows
    ]
    cut_off = sum(cuts) if rule.record.takes("cut_off") else None
    sums = totals.Chosen(rows, cut_off)
    plain[-1]["totals"] = sums.to_dict()  # in a list of its own they would be one more problem
    if len(rows) == 1:
        choice = rows[0][-1]
        text = choice.text  # alone, for whoever reads it by program
        if votes.votes(rule.record) and not arguments.json:
            terminal.tell("; ".join([votes.tally(choice), *hint]))
    else:
        table = votes.show_choices(rule.record, [(pool, choice) for pool, _, choice in rows])
        text = "\n".join([table, "", *sums.lines(), *hint])
    terminal.show_result(arguments, plain, text)
    if cut := sum(choice.candidate.is_cut_off for *_, choice in rows if choice):
        terminal.warn(f"cut off before their end: {cut} of {len(rows)} chosen answers")
    if reason is not None:
        count = sum(choice is None for *_, choice in rows)
        terminal.warn(
            f"no choice for {count} of {len(rows)} problems; of the first: {message_of(reason)}"
        )


def _check_looked_at(file: Any, pool: Any) -> None:
    """Raise for a problem without answers in a file in which others have some.

    The rule sees one problem at a time: it would vote on whole texts here, on answers elsewhere.
    """
    for candidate in pool if file.answered else ():
        if candidate.answer is None and candidate.correct is None:
            unlike = "has not been looked at for its answer, others have"
            do = "grade the pool, or name an extractor with --answer"
            raise options.at_candidate(file, pool, candidate, f"{unlike}; {do}")


def _grade(arguments: argparse.Namespace) -> None:
    from edifice_tt.pools.golds import add_gold
    from edifice_tt.pools.pool import PoolFile, rewrite_pools

    sums, settings = totals.Totals(), dict[str, Any]()
    asking.check_reading(arguments)
    how = asking.reading(arguments)
    problems = et.read_problems(arguments.problems, **how) if arguments.problems else []
    given = {one.problem: one for one in problems}

    def graded(file: PoolFile) -> Iterator[Any]:
        settings.update(file.settings)
        for name, about in file.problems.items():
            if about["gold"] is None and (name not in given or given[name].gold is None):
                raise EdificeError(
                    f"{arguments.pool}, line {file.lines[name]}: problem {name!r} has no gold "
                    "answer, so its candidates cannot be graded; --problems FILE, with the options "
                    "of generate, fills it in"
                )
        yield from _graded(file, arguments.answer, sums, lambda pool: add_gold(pool, given))

    rewrite_pools(arguments.pool, graded)
    text = "\n".join(totals.of_graded(sums, arguments.pool, settings.get("max_tokens")))
    terminal.show_result(arguments, {"pool": str(arguments.pool), **sums.to_dict()}, text)


def _graded(
    pools: Iterable[Any],
    answer: str | None,
    sums: totals.Totals,
    change: Callable[[Any], Any] = lambda pool: pool,
) -> Iterator[Any]:
    """Yield the pools, graded if requested and possible, and count them; warn of the extractor."""
    from edifice_tt.selection.grade import mark_pool, warn_of_golds

    golds: dict[str, str] = {}
    for pool in map(change, _telling(pools)):
        if answer is not None and pool.gold is not None:
            golds[pool.problem] = pool.gold
            try:
                pool = mark_pool(pool, answer)
            except PluginError as error:
                raise _at_line(pools, pool, error) from error
        sums.add(pool)
        yield pool
    warn_of_golds(golds, answer)
    if golds and (told := totals.few_answers(sums, answer)):
        terminal.warn(told)


def _at_line(pools: Any, pool: Any, error: Exception) -> EdificeError:
    """The same error with the file and the line of the problem, where pools are read from one."""
    if (lines := getattr(pools, "lines", None)) is None:
        return PluginError(message_of(error))
    return PluginError(f"{pools.path}, line {lines[pool.problem]}: {message_of(error)}")


def _telling(pools: Iterable[Any]) -> Iterator[Any]:
    """Yield the pools; then warn of a scorer that has scored only some."""
    scored: Counter[str] = Counter()
    candidates = 0
    for pool in pools:
        yield pool
        candidates += len(pool)
        scored.update(name for candidate in pool for name in candidate.scores)
    for name, count in sorted(scored.items()):
        if count < candidates:
            terminal.warn(
                f"only {count} of {candidates} candidates have a score by {name!r}; score the file "
                "again for the others"
            )


def _import(arguments: argparse.Namespace) -> None:
    outputs.check_new(arguments)
    how = {name: getattr(arguments, name) for name in ("scorer", "range", "model")}
    how |= {f"{part}_field": getattr(arguments, f"{part}_field") for part in _FIELDS}
    pools = et.import_pools(arguments.source or arguments.dataset, **how)
    sums = totals.Totals()
    graded = _graded(pools, arguments.answer, sums)
    et.write_pools(arguments.output, graded, overwrite=arguments.force)
    made = held(sums.candidates, sums.problems)
    text = f"{made} in {arguments.output}, {sums.right} of them right"
    terminal.show_result(arguments, {"pool": str(arguments.output), **sums.to_dict()}, text)


def _merge(arguments: argparse.Namespace) -> None:
    outputs.check_new(arguments)
    problems, candidates = et.merge_pools(
        arguments.pools, arguments.output, overwrite=arguments.force
    )
    counts = {"problems": problems, "candidates": candidates}
    text = f"{held(candidates, problems)} in {arguments.output}"
    terminal.show_result(arguments, {"pool": str(arguments.output), **counts}, text)
