"""Tokens a second in reading one prompt, beside llama.cpp and transformers.

Ours encodes the text and samples one token; the peers are given token ids.
"""

from functools import partial
from typing import Any

import machine
from language_model import (
    ACTIVATIONS,
    PEER_DEVICE,
    SHAPE,
    add_each,
    check_same_token,
    file_of,
    load_endless,
    open_peers,
    prompts,
    reached,
    read_seconds,
)
from peer import Peer
from timing import Report, arguments, take_turns

from edifice_tt.machine.toolchain import open_device


def main() -> None:
    options = arguments(
        __doc__ or "",
        activations=ACTIVATIONS,
        peer_device=PEER_DEVICE,
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
    peers, names, on = open_peers(options)
    for tokens in options.tokens:
        texts = prompts(lm, tokens)
        ids = lm.tokenizer.encode(next(texts))
        subjects = {
            way: lambda lm=lm, texts=texts: read_seconds(lm, next(texts)) for way, lm in lms.items()
        }
        for module, peer in peers.items():
            size = {"threads": options.threads, "rows": 1, "prompt": tokens, "new": 1}
            peer("load", gguf=path, **size, **on)
            report.versions |= peer.versions
            subjects[names[module]] = partial(their_seconds, peer, ids)
        check_same_token(lms.values(), next(texts), peers, rounded=bool(on))
        times = take_turns(subjects, options.repeats, warm_up=2)
        more = {way: reached(lm, min(times[way]), 0, 0, tokens) for way, lm in lms.items()}
        add_each(report, f"{tokens} tokens", times, tokens, more)
    report.show()


def their_seconds(peer: Peer, ids: list[int]) -> float:
    return float(peer("prefill", ids=ids)["seconds"])


if __name__ == "__main__":
    main()
