"""Tokens a second of models of published shapes, reading and decoding, beside llama.cpp.

Weights are random, in the mixes that llama.cpp writes, so nothing is downloaded. The file's blocks
are read as they are by both. Ours samples every token; llama.cpp only computes the logits.
"""

import tempfile
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import machine
import numpy as np
from language_model import (
    ACTIVATIONS,
    add_each,
    decode_seconds,
    load_endless,
    precision,
    prompts,
    read_seconds,
)
from peer import Peer, start_peers
from random_model import MIXES, SHAPES, USUAL, write_model
from timing import Report, arguments, take_turns

PEER = "llama.cpp"
PROMPT, LONG = 128, 512  # tokens that N answers share; tokens of a long prompt
ALIKE = 1  # what logits may differ at most, as a share of their spread: both round otherwise


def main() -> None:
    options = arguments(
        __doc__ or "",
        shapes={"nargs": "+", "choices": list(SHAPES), "help": "default: those of up to 1B"},
        mixes={"nargs": "+", "choices": MIXES, "default": MIXES, "help": "default: all"},
        rows={"type": int, "nargs": "+", "default": [1, 16, 64], "help": "candidates"},
        steps={"type": int, "default": 63, "help": "of decoding (default 63)"},
        activations=ACTIVATIONS,
    )
    if options.quick:
        options.steps, options.rows = 7, [1, 3]
    shapes = options.shapes or (["tiny"] if options.quick else USUAL)
    report = Report(
        f"random weights: a shared prompt of {PROMPT} tokens and {options.steps} steps, "
        f"or a prompt of {LONG}",
        machine.versions(),
        machine.limits(options.peers),
        options,
        "tokens/s",
    )
    with tempfile.TemporaryDirectory() as folder:
        for shape, mix in product(shapes, options.mixes):
            path = write_model(Path(folder, "model.gguf"), shape, mix)
            measure(report, options, f"{shape} {mix}", str(path))
    report.show()


def measure(report: Report, options: Any, name: str, path: str) -> None:
    lms = {way: load_endless(way, path) for way in options.activations}
    some = next(iter(lms.values()))
    peers = {"shared": True, "copies": False}
    opened = {
        f"{PEER}, {way}": (peer, shared)
        for way, shared in peers.items()
        for peer in start_peers(options.peers, ["llama_cpp_lm"]).values()
    }
    texts, long = prompts(some, PROMPT), prompts(some, LONG)
    ids = some.tokenizer.encode(next(texts))
    size = {"file": path, "threads": options.threads}
    known = {way: precision(lm, name.split()[-1], way) for way, lm in lms.items()}
    for peer, _ in list(opened.values())[:1]:
        report.versions |= peer.versions
        known |= {PEER: peer("load", **size, rows=1, prompt=LONG, new=1)}
        check_alike(lms, peer, ids)

    subjects: dict[str, Any] = {
        way: lambda lm=lm: read_seconds(lm, next(long)) for way, lm in lms.items()
    }
    for peer, _ in list(opened.values())[:1]:
        subjects[PEER] = partial(their_seconds, peer, some.tokenizer.encode(next(long)))
    times = take_turns(subjects, options.repeats, 1)
    add_each(report, f"{name}, {LONG} tokens", times, LONG, known)

    for rows in options.rows:
        subjects = {
            way: lambda lm=lm, rows=rows: decode_seconds(lm, next(texts), rows, options.steps)
            for way, lm in lms.items()
        }
        for way, (peer, shared) in opened.items():
            room = {"rows": rows, "prompt": PROMPT, "new": options.steps, "shared": shared}
            known[way] = peer("load", **size, **room)
            subjects[way] = partial(peer, "decode", ids=ids, rows=rows, steps=options.steps)
        times = take_turns(subjects, options.repeats, 1)
        add_each(report, f"{name}, N = {rows}", times, rows * options.steps, known)
    for peer, _ in opened.values():
        peer.close()


def check_alike(lms: dict[str, Any], peer: Peer, ids: list[int]) -> None:
    """Logits of random weights are near each other, so their spread is the measure."""
    with tempfile.TemporaryDirectory() as folder:
        peer("logits", ids=ids, path=(file := f"{folder}/logits.npy"))
        theirs = np.load(file)
    for way, lm in lms.items():
        ours = lm(np.array([ids], np.int32)).logits.numpy()[0]
        if (apart := np.abs(ours - theirs).max() / theirs.std()) > ALIKE:
            raise SystemExit(f"{way} is {apart:.2g} of the logits' spread from {PEER}")


def their_seconds(peer: Peer, ids: list[int]) -> float:
    return float(peer("prefill", ids=ids)["seconds"])


if __name__ == "__main__":
    main()
