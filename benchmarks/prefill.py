"""Tokens a second in reading one prompt, beside peers in the formats that serve them best.

Ours encodes the text and samples one token; the peers are given token ids.
"""

from functools import partial
from typing import Any

import machine
from formats import BESIDE, COPIES, FILES, PEER_DEVICE, Subject, open_subjects
from language_model import (
    ACTIVATIONS,
    SHAPE,
    add_each,
    check_same_token,
    file_of,
    load_endless,
    precision,
    prompts,
    reached,
    read_seconds,
    weights_of,
)
from timing import Report, arguments, take_turns

from edifice_tt.machine.toolchain import open_device


def main() -> None:
    options = arguments(
        __doc__ or "",
        activations=ACTIVATIONS,
        peer_device=PEER_DEVICE,
        beside=BESIDE,
        files=FILES,
        shape=SHAPE,
        tokens={"type": int, "nargs": "+", "default": [512], "help": "tokens of the prompt"},
    )
    with file_of(options.shape) as path:
        measure(options, path)


def measure(options: Any, path: str) -> None:
    lms = {way: load_endless(way, path) for way in options.activations}
    lm = next(iter(lms.values()))
    report = Report(
        f"reading a prompt, {options.shape or 'SmolLM2-135M'}",
        machine.versions(),
        machine.limits_of(open_device(), options),
        options,
        "tokens/s",
    )
    with open_subjects(options, path) as peers:
        beside = {name: peer for name, peer in peers.items() if COPIES not in name}
        for tokens in options.tokens:
            texts = prompts(lm, tokens)
            ids = lm.tokenizer.encode(next(texts))
            subjects = {
                way: lambda lm=lm, texts=texts: read_seconds(lm, next(texts))
                for way, lm in lms.items()
            }
            for name, peer in beside.items():
                peer.load(options.threads, 1, tokens, 1)
                report.versions |= peer.versions
                subjects[name] = partial(their_seconds, peer, ids)
            check_same_token(lms.values(), next(texts), beside)
            times = take_turns(subjects, options.repeats, warm_up=2)
            more = {
                way: reached(lm, min(times[way]), 0, 0, tokens)
                | precision(lm, weights_of(options), way)
                for way, lm in lms.items()
            }
            more |= {name: peer.precision for name, peer in beside.items()}
            add_each(report, f"{tokens} tokens", times, tokens, more)
    report.show()


def their_seconds(peer: Subject, ids: list[int]) -> float:
    return float(peer.prefill(ids)["seconds"])


if __name__ == "__main__":
    main()
