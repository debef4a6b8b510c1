"""Tokens a second of N candidates in all, behind one shared prompt, beside llama.cpp and others.

SmolLM2-135M, each peer in the formats that serve it best; the prompt is read before the clock
starts. Ours samples every token and makes texts of them; most peers only compute the logits.
"""

from functools import partial
from typing import Any

import machine
from formats import BESIDE, COPIES, FILES, PEER_DEVICE, open_subjects
from language_model import (
    ACTIVATIONS,
    SHAPE,
    add_each,
    check_same_token,
    decode_seconds,
    file_of,
    load_endless,
    precision,
    prompts,
    reached,
    weights_of,
)
from timing import Report, arguments, take_turns

from edifice_tt.machine.toolchain import open_device

PROMPT, STEPS = 128, 63  # the first of 64 tokens comes from the prompt's logits


def main() -> None:
    options = arguments(
        __doc__ or "",
        rows={"type": int, "nargs": "+", "default": [1, 4, 16, 32, 64], "help": "candidates"},
        activations=ACTIVATIONS,
        peer_device=PEER_DEVICE,
        beside=BESIDE,
        files=FILES,
        shape=SHAPE,
        batch_size={"type": int, "default": 0, "help": "of generate (default: its own)"},
    )
    with file_of(options.shape) as path:
        measure(options, path)


def measure(options: Any, path: str) -> None:
    steps = 7 if options.quick else STEPS
    lms = {way: load_endless(way, path) for way in options.activations}
    lm = next(iter(lms.values()))
    report = Report(
        f"decode, {options.shape or 'SmolLM2-135M'}, "
        f"a shared prompt of {PROMPT} tokens, {steps} steps",
        machine.versions(),
        machine.limits_of(open_device(), options),
        options,
        "tokens/s",
    )
    texts = prompts(lm, PROMPT)
    ids = lm.tokenizer.encode(next(texts))
    room = {"batch_size": options.batch_size} if options.batch_size else {}
    with open_subjects(options, path) as peers:
        for rows in options.rows:
            subjects = {
                way: lambda lm=lm, rows=rows: decode_seconds(lm, next(texts), rows, steps, **room)
                for way, lm in lms.items()
            }
            # A single row has no copies.
            beside = {name: peer for name, peer in peers.items() if rows > 1 or COPIES not in name}
            for name, peer in beside.items():
                peer.load(options.threads, rows, PROMPT, steps)
                report.versions |= peer.versions
                subjects[name] = partial(peer.decode, ids, rows, steps)
            check_same_token(lms.values(), next(texts), beside)
            times = take_turns(subjects, options.repeats, warm_up=1)
            more = {
                way: reached(lm, min(times[way]), steps, rows)
                | precision(lm, weights_of(options), way)
                for way, lm in lms.items()
            }
            more |= {name: peer.precision for name, peer in beside.items()}
            add_each(report, f"N = {rows}", times, rows * steps, more)
    report.show()


if __name__ == "__main__":
    main()
