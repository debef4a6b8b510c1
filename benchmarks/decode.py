"""Tokens a second of N candidates in all, behind one shared prompt, beside llama.cpp and others.

SmolLM2-135M in 4-bit blocks (llama.cpp and we) or float32 (transformers); the prompt is read
before the clock starts. Ours samples every token and makes texts of them; the peers only compute
the logits.
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
    decode_seconds,
    file_of,
    load_endless,
    open_peers,
    prompts,
    reached,
)
from peer import start_peers
from timing import Report, arguments, take_turns

from edifice_tt.machine.toolchain import open_device

COPIES = "llama.cpp Q4_1, copies"
PROMPT, STEPS = 128, 63  # the first of 64 tokens comes from the prompt's logits


def main() -> None:
    options = arguments(
        __doc__ or "",
        rows={"type": int, "nargs": "+", "default": [1, 4, 16, 32, 64], "help": "candidates"},
        activations=ACTIVATIONS,
        peer_device=PEER_DEVICE,
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
    peers, names, on = open_peers(options)
    if "llama_cpp_lm" in peers:  # both of its ways to keep a prompt; the faster one counts
        peers[COPIES] = start_peers(options.peers, ["llama_cpp_lm"])["llama_cpp_lm"]
    texts = prompts(lm, PROMPT)
    ids = lm.tokenizer.encode(next(texts))
    room = {"batch_size": options.batch_size} if options.batch_size else {}
    for rows in options.rows:
        subjects = {
            way: lambda lm=lm, rows=rows: decode_seconds(lm, next(texts), rows, steps, **room)
            for way, lm in lms.items()
        }
        for module, peer in peers.items():
            size = {"rows": rows, "prompt": PROMPT, "new": steps, "threads": options.threads}
            how = {"shared": False} if module == COPIES else {}
            peer("load", gguf=path, **size, **how, **on)
            report.versions |= peer.versions
            name = names.get(module, module)
            subjects[name] = partial(peer, "decode", ids=ids, rows=rows, steps=steps)
        check_same_token(lms.values(), next(texts), peers, rounded=bool(on))
        times = take_turns(subjects, options.repeats, warm_up=1)
        more = {way: reached(lm, min(times[way]), steps, rows) for way, lm in lms.items()}
        add_each(report, f"N = {rows}", times, rows * steps, more)
    report.show()


if __name__ == "__main__":
    main()
