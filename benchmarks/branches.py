"""Tokens a second of the rows of a beam, beside plain sampling of as many rows in the same minute.

SmolLM2-135M behind one prompt, with nothing that ends an answer early: both draw the same number of
tokens. A beam drops rows and copies others at every choice, and scores them: by log-probability, or
by the shipped verifier. A ratio below 1 is what that costs.
"""

import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from statistics import median
from typing import Any

import machine
from language_model import load_endless, prompts
from timing import Report, arguments, take_turns

import edifice_tt as et

PROMPT = 128
PLAIN = "plain"
VERIFIER = "smollm2-verifier"


def main() -> None:
    options = arguments(
        __doc__ or "",
        rows={"type": int, "nargs": "+", "default": [16], "help": "n (default: 16)"},
        tokens={"type": int, "default": 512, "help": "of each row (default: %(default)s)"},
        step={"type": int, "default": 32, "help": "tokens between choices (default: %(default)s)"},
    )
    tokens = 2 * options.step if options.quick else options.tokens
    lm = load_endless()
    # Of this tokenizer the verifier only misses the ids that end an answer.
    scorers = {"logprob": "logprob", VERIFIER: replace(et.load_verifier(VERIFIER), tokenizer="")}
    report = Report(
        f"beam, SmolLM2-135M, {tokens} tokens a row, a choice every {options.step}",
        machine.versions(),
        machine.limits(options.peers),
        options,
        "tokens/s",
        note="ratio: seconds of plain sampling / those of the beam, the median of pairs",
    )
    texts = prompts(lm, PROMPT)
    for rows in options.rows:
        size = {"rows": rows, "tokens": tokens}
        beams = {
            f"beam by {name}": partial(seconds, lm, texts, scorer, step=options.step, **size)
            for name, scorer in scorers.items()
        }
        subjects = {PLAIN: partial(seconds, lm, texts, None, **size), **beams}
        times = take_turns(subjects, options.repeats, warm_up=1)
        report.add(f"N = {rows}", times, rows * (tokens - 1))
        for row in report.rows[-len(times) :]:
            pairs = zip(times[PLAIN], row["seconds"], strict=True)
            row["ratio"] = median(plain / beam for plain, beam in pairs)
    headings = ("case", "subject", "best", "median", "ratio")
    report.show({name: name for name in headings})


def seconds(
    lm: Any, texts: Iterator[str], scorer: Any, *, rows: int, tokens: int, step: int = 0
) -> float:
    """Seconds from the moment when every row has its first token until the last has come."""
    times: list[float] = []
    how: dict[str, Any] = {"max_tokens": tokens}
    how["on_token"] = lambda _: times.append(time.perf_counter())
    if scorer is None:
        et.generate(lm, next(texts), n=rows, **how)
    else:
        settings = {"n": rows, "step_tokens": step, "delimiter": None}
        et.search(lm, next(texts), "beam", scorer, settings=settings, **how)
    if len(times) != rows * tokens:
        raise SystemExit(f"{len(times)} tokens came, expected {rows * tokens}")
    return times[-1] - times[rows - 1]


if __name__ == "__main__":
    main()
