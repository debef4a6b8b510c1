"""Tokens a second in reading one prompt, beside llama.cpp and transformers.

Ours encodes the text and samples one token; the peers are given token ids.
"""

from functools import partial

import machine
from language_model import (
    ACTIVATIONS,
    PEERS,
    add_each,
    check_same_token,
    load_endless,
    model_file,
    prompts,
    read_seconds,
)
from peer import Peer, start_peers
from timing import Report, arguments, take_turns


def main() -> None:
    options = arguments(
        __doc__ or "",
        activations=ACTIVATIONS,
        tokens={"type": int, "nargs": "+", "default": [512], "help": "tokens of the prompt"},
    )
    lms = {way: load_endless(way) for way in options.activations}
    lm = next(iter(lms.values()))
    report = Report(
        "reading a prompt, SmolLM2-135M",
        machine.versions(),
        machine.limits(options.peers),
        options.json,
        "tokens/s",
    )
    peers = start_peers(options.peers, PEERS)
    for tokens in options.tokens:
        texts = prompts(lm, tokens)
        ids = lm.tokenizer.encode(next(texts))
        subjects = {
            way: lambda lm=lm, texts=texts: read_seconds(lm, next(texts)) for way, lm in lms.items()
        }
        for module, peer in peers.items():
            size = {"threads": options.threads, "rows": 1, "prompt": tokens, "new": 1}
            peer("load", gguf=model_file(), **size)
            report.versions |= peer.versions
            subjects[PEERS[module]] = partial(their_seconds, peer, ids)
        check_same_token(lms.values(), next(texts), peers)
        times = take_turns(subjects, options.repeats, warm_up=2)
        add_each(report, f"{tokens} tokens", times, tokens)
    report.show()


def their_seconds(peer: Peer, ids: list[int]) -> float:
    return float(peer("prefill", ids=ids)["seconds"])


if __name__ == "__main__":
    main()
