"""Commands that search: search, and generate where it stops early. Knows no method."""

import argparse
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import edifice_tt as et
from edifice_tt.cli import asking, judging, options, outputs, terminal, workers
from edifice_tt.cli.options import Add
from edifice_tt.cli.parser import whole_number
from edifice_tt.cli.rule_options import search_options
from edifice_tt.contract.registry import load_registry
from edifice_tt.contract.wording import counted
from edifice_tt.machine.meter import SearchMeter

HEADING = "sample answers"
WAVE = 4  # rows that `generate --stop-when` runs at a time


def register(add: Add) -> None:
    command = add(
        "search",
        _search,
        "sample as a method asks for it, within a budget of tokens",
        partial(options.add_sampling, of_search=True),
        options.add_scoring,
        judging.add_judging,
    )
    command.add_argument(
        "method",
        metavar="METHOD",
        help="adaptive, rejection, particles, rebase, beam, dvts, or another: `edifice-tt list` "
        "shows what each reads",
    )
    asking.add_problems(command)
    command.add_argument("--scorer", metavar="NAME", help="whose scores the method reads")
    budget = "the most tokens to draw per problem; when they are drawn the best so far is chosen"
    command.add_argument("--budget", type=whole_number(1, "4096"), metavar="TOKENS", help=budget)
    options.add_settings(command)
    workers.add_workers(command)
    resume = "go on where it was interrupted, and make only what the file lacks"
    outputs.add_output(command, "pool file (default: print the answer and the rows)", resume=resume)


def _search(arguments: argparse.Namespace) -> int:
    asking.check_sources(arguments)
    workers.check(arguments)
    record = load_registry().find("search", arguments.method)
    settings = search_options(arguments, record)
    if arguments.n is not None:
        settings["n"] = arguments.n
    return _run(arguments, record.name, settings)


def generate(arguments: argparse.Namespace) -> int:
    """`generate --stop-when METHOD:VALUE`: the search of that name, by its first setting."""
    name, _, value = arguments.stop_when.partition(":")
    record = load_registry().find("search", name)
    if record.needs != ("answers",) or record.gathers:
        raise ValueError(
            f"--stop-when {arguments.stop_when}: it takes a search that reads nothing but answers, "
            "such as adaptive:0.95; for others use edifice-tt search"
        )
    first = next(option for option in record.options if option != "n")
    given = argparse.Namespace(option=[f"{first}={value}"] if value else [])
    settings = {**search_options(given, record), "n": arguments.n}
    if record.takes("wave"):
        settings["wave"] = min(WAVE, arguments.n)
    as_search = argparse.Namespace(**{**vars(arguments), "budget": None, "reduce": None})
    return _run(as_search, record.name, settings, scored=False)


def _run(
    arguments: argparse.Namespace, method: str, settings: dict[str, Any], scored: bool = True
) -> int:
    if not arguments.output:
        asking.check_for_one(arguments)
    task, problems = asking.problems_of(arguments)
    answer = arguments.answer or (task.answer if task else None)
    request = options.request_of(arguments, task, answer)
    if arguments.output:
        outputs.check_new(arguments)
    lm = options.load(arguments, arguments.model, request.devices)
    scorer = _scorer(arguments, lm) if scored else None
    problems = asking.as_prompts(arguments, problems, lm, task)
    sampling = {name: value for name, value in vars(request).items() if name != "n"}
    how: dict[str, Any] = {"settings": settings, "budget": arguments.budget}
    how |= {"reduce": arguments.reduce, "scorer": scorer, "method": method, **sampling}
    if arguments.output:
        return _to_file(arguments, lm, problems, how)
    with SearchMeter(budget=arguments.budget) as meter:
        pool = et.search(
            lm, problems[0].prompt, on_token=meter.on_token, on_step=meter.on_step, **how
        )
    if pool.interrupted:
        terminal.tell(f"interrupted; {len(pool)} rows are begun")
    terminal.show_result(arguments, pool.to_dict(), _shown(pool))
    return 130 if pool.interrupted else 0


def _scorer(arguments: argparse.Namespace, lm: Any) -> Any:
    """The verifier, the judge or the name of the scorer that was asked for, or None."""
    name = options.scorer_of(arguments)
    judge = judging.load_judge(arguments, lm if judging.asks_itself(arguments) else None)
    return options.open_verifier(arguments, name) or judge or name


def _to_file(
    arguments: argparse.Namespace, lm: Any, problems: list[et.Problem], how: Mapping[str, Any]
) -> int:
    from edifice_tt.live.plan import Plan
    from edifice_tt.live.runs import Listeners, search_problems
    from edifice_tt.pools.index import header_settings
    from edifice_tt.sampling.request import today

    path, made, status, failed = arguments.output, list[et.Pool](), 0, dict[str, str]()
    begun = header_settings(path).get("date") if arguments.resume else None
    how = {**how, "date": begun or today()}
    plan = Plan.of(lm, **how)

    def ended(pool: et.Pool) -> None:
        meter.on_problem(pool)
        made.append(pool)

    with SearchMeter(len(problems), arguments.budget) as meter:
        listeners = Listeners(meter.on_token, meter.on_step, ended)
        file = {"resume": arguments.resume, "force": arguments.force}
        try:
            if workers.are_asked_for(arguments):
                failed = _search_by(arguments, plan, problems, how, ended)
            else:
                with options.naming_sources(arguments):
                    search_problems(plan, problems, path, **file, listeners=listeners)
        except KeyboardInterrupt:
            status = 130
    if failed:
        workers.tell_failed(arguments, failed, len(problems), "have no search that ended")
        status = workers.FAILED
    if status == 130:
        again = "" if arguments.resume else " with --resume"
        terminal.tell(
            f"interrupted; {counted(len(made), 'problem')} ended in this run; what was drawn is "
            f"in {path}; the same command{again} goes on"
        )
    totals = _totals(made)
    lines = f"{counted(len(problems), 'problem')} in {path}; this run: {_in_words(totals)}"
    if arguments.json or status != 130:
        plain = {"pool": str(path), "problems": len(problems), **totals}
        terminal.show_result(arguments, plain, lines)
    return status


def _search_by(
    arguments: argparse.Namespace,
    plan: Any,
    problems: list[et.Problem],
    how: Mapping[str, Any],
    ended: Callable[[et.Pool], None],
) -> dict[str, str]:
    """Search by several workers; why problems failed."""
    from edifice_tt.live.runs import open_searches
    from edifice_tt.workers.searching import search_by

    file = {"resume": arguments.resume, "force": arguments.force}
    with (
        workers.executor_of(arguments) as executor,
        open_searches(plan, problems, arguments.output, **file) as run,
    ):
        return search_by(executor, plan.lm, run, how, terminal.tell, ended)


def _totals(pools: list[et.Pool]) -> dict[str, Any]:
    """What the searches of this run came to."""
    books = [dict(pool.search or {}) for pool in pools]
    chosen = [pool.chosen for pool in pools]
    right = [one.correct for one in chosen if one is not None and one.correct is not None]
    marked = any(one.correct is not None for pool in pools for one in pool)
    sums = ("spent", "kept_tokens", "computed", "judge_tokens", "seconds")
    return {
        "made": len(pools),
        "rows": sum(map(len, pools)),
        "early": sum(book["early"] for book in books),
        "right": sum(right) if marked else None,
        **{name: sum(book[name] for book in books) for name in sums},
    }


def _in_words(totals: Mapping[str, Any]) -> str:
    parts = [
        f"{counted(totals['made'], 'problem')}, {totals['early']} of them early",
        f"{totals['spent']} tokens in {counted(totals['rows'], 'row')}",
        f"{totals['kept_tokens']} of them kept",
    ]
    if totals["judge_tokens"]:
        parts.append(f"{totals['judge_tokens']} read by the judge")
    if totals["right"] is not None:
        parts.append(f"{totals['right']} of {totals['made']} right")
    return ", ".join(parts)


def _shown(pool: et.Pool) -> str:
    """The chosen text, the rows, and what they have cost."""
    row = (pool.search or {})["row"]
    texts = [one.text for one in pool if one.index == row]
    told = _in_words(_totals([pool])).partition(", ")[2].partition(", ")[2]
    return "\n\n".join([*texts, terminal.show_candidates(pool, row), told])
