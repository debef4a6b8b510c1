"""How well verifiers tell right answers from wrong ones after their first tokens.

Plain candidates of SmolLM2-135M on new problems of tasks. A verifier scores the first k tokens of
each, and the whole. Each number is the chance that it puts a right answer above a wrong one of the
same problem: 0.5 is a coin. Candidates that had ended count with their whole score, as in a search.
"""

from dataclasses import replace

import machine
from timing import Report, arguments

import edifice_tt as et
from edifice_tt.pools.tasks import find_task
from edifice_tt.study.quality import assess_scorer


def main() -> None:
    options = arguments(
        __doc__ or "",
        tasks={"nargs": "+", "default": ["largest"], "help": "of `edifice-tt tasks`"},
        num={"type": int, "default": 30, "help": "problems of each (default: %(default)s)"},
        verifiers={"nargs": "+", "default": ["smollm2-verifier"], "help": "names or files"},
        upto={"type": int, "default": 4, "help": "the most tokens (default: %(default)s)"},
    )
    num = 2 if options.quick else options.num
    lm, pools = et.load_pretrained("smollm2-135m"), list[et.Pool]()
    for task in map(find_task, options.tasks):
        for problem in et.make_problems(task, num, split="test"):
            named = {"problem": problem.problem, "gold": problem.gold, "n": 16}
            pools.append(et.generate(lm, problem.prompt, **named, **task.sampling))
    report = Report(
        f"right above wrong by the first tokens, {num} problems of {', '.join(options.tasks)}",
        machine.versions(),
        machine.limits(options.peers),
        options,
        note="whole: of all tokens",
    )
    for name in options.verifiers:
        verifier = et.load_verifier(name)
        row = {"by": verifier.name}
        for tokens in (*range(1, options.upto + 1), None):
            row[f"first {tokens}" if tokens else "whole"] = told_apart(lm, verifier, pools, tokens)
        report.rows.append(row)
    report.show({column: column for column in report.rows[0]})


def told_apart(
    lm: et.CausalLM, verifier: et.Verifier, pools: list[et.Pool], tokens: int | None
) -> float | None:
    """The mean AUROC within problems, of scores after so many tokens."""
    scores, right = [], []
    for pool in pools:
        cut = (replace(one, token_ids=one.token_ids[:tokens]) for one in pool)
        scored = et.score(lm, replace(pool, candidates=tuple(cut)), verifier)
        scores.append([one.scores[verifier.name] for one in scored])
        right.append([bool(one.correct) for one in pool])
    quality = assess_scorer(verifier.name, scores, right, score_range="probability")
    return quality.auroc_within


if __name__ == "__main__":
    main()
