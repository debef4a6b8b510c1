"""How far rounded activations, keys and values are from float32: log-probabilities, KL, top tokens.

Over the texts that the tests hold (prompts and their greedy continuations) and over prose, the
documentation of this project; llama.cpp, which rounds as well, is measured alike.
"""

import json
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import record
from language_model import MODEL, load_endless, model_file
from peer import start_peers
from timing import arguments
from tinygrad import Tensor
from tinygrad.nn.state import safe_load

import edifice_tt as et
from edifice_tt.nn.cache import KVCache
from edifice_tt.nn.cpu.bridge import computes_halves, multiplies_bfloats

ROOT = Path(__file__).parent.parent
REFERENCES = ROOT / "tests" / "references" / "smollm2_visible"
PIECE, PIECES = 256, 8  # tokens of a piece of prose, and how many
LLAMA = "llama_cpp_lm"
KEPT = ("float16", "int8")


def main() -> None:
    options = arguments(__doc__ or "")
    exact, int8 = (et.jit(load_endless(activations)) for activations in ("float32", "int8"))
    ways = {"int8": int8}
    if computes_halves(exact.model.device):
        ways["float16"] = et.jit(load_endless("float16"))
    if multiplies_bfloats(exact.model.device):
        ways["bfloat16"] = et.jit(load_endless("bfloat16"))
    peers = start_peers(options.peers, [LLAMA])
    texts = {
        "references": references(),
        "prose": prose(exact.model, 1 if options.quick else PIECES),
    }
    found: dict[str, dict[str, dict[str, float]]] = {}
    for name, pieces in texts.items():
        subjects: dict[str, list[dict[str, np.ndarray]]] = {}
        for ids in pieces:
            ours, *rounded = (
                logprobs(lm(Tensor([ids])).logits.numpy()[0]) for lm in (exact, *ways.values())
            )
            theirs = {f"edifice_tt {way}": of for way, of in zip(ways, rounded, strict=True)}
            for kept in KEPT:
                for activations, lm in (("", exact.model), ("int8, ", int8.model)):
                    subject = f"edifice_tt {activations}{kept} keys and values"
                    theirs[subject] = logprobs(kept_logits(lm, ids, kept))
            for kept in ("F16", "Q8_0") if LLAMA in peers else ():
                subject = f"llama.cpp Q4_1, {kept} keys and values"
                theirs[subject] = logprobs(llama_logits(peers[LLAMA], ids, kept, options.threads))
            for subject, other in theirs.items():
                subjects.setdefault(subject, []).append(differences(ids, ours, other))
        found[name] = {subject: summary(parts) for subject, parts in subjects.items()}
        print(f"{name} measured", file=sys.stderr)
    if options.keep:
        record.keep(Path(options.keep[0]), options.keep[1], {"found": found})
    if options.json:
        print(json.dumps(found, indent=1))
        return
    print(f"{MODEL}: distance from float32\n")
    for name, rows in found.items():
        for subject, figures in rows.items():
            print(f"{name}, {subject}: {', '.join(f'{k} {v:.4g}' for k, v in figures.items())}")


def references() -> list[list[int]]:
    numbers = safe_load(REFERENCES.with_suffix(".safetensors"))
    count = len(json.loads(REFERENCES.with_suffix(".json").read_text()))
    names = [(f"{i}.token_ids", f"{i}.greedy_ids") for i in range(count)]
    return [[t for name in pair for t in numbers[name].numpy().tolist()] for pair in names]


def prose(lm: Any, pieces: int) -> list[list[int]]:
    files = (ROOT / "docs" / name for name in ("write-a-scorer.md", "hooks.md"))
    ids = lm.tokenizer.encode("".join(file.read_text(encoding="utf-8") for file in files))
    return [ids[i * PIECE : (i + 1) * PIECE] for i in range(pieces)]


def kept_logits(lm: Any, ids: list[int], kept: str) -> np.ndarray:
    """The logits behind each token, which reads what was kept of those before it."""
    cache = KVCache.empty(lm.config.backbone, 1, len(ids), lm.device, kept)
    logits: np.ndarray = lm.logits(lm.read(Tensor([ids]), cache)).numpy()[0]
    return logits


def llama_logits(peer: Any, ids: list[int], kept: str, threads: int) -> np.ndarray:
    peer("load", file=model_file(), threads=threads, rows=1, prompt=PIECE, new=1, kept=kept)
    with TemporaryDirectory() as folder:
        peer("logits", ids=ids, path=f"{folder}/logits.npy")
        return np.load(f"{folder}/logits.npy")


def logprobs(logits: np.ndarray) -> np.ndarray:
    exact = logits.astype(np.float64) - logits.max(-1, keepdims=True)
    return exact - np.log(np.exp(exact).sum(-1, keepdims=True))


def differences(ids: list[int], ours: np.ndarray, other: np.ndarray) -> dict[str, np.ndarray]:
    """Of each token but the first, as predicted from those before it."""
    at, following = np.arange(len(ids) - 1), np.array(ids[1:])
    return {
        "logprob": np.abs(other[at, following] - ours[at, following]),
        "kl": (np.exp(ours) * (ours - other)).sum(-1)[:-1],
        "same": (ours.argmax(-1) == other.argmax(-1))[:-1],
    }


def summary(parts: list[dict[str, np.ndarray]]) -> dict[str, float]:
    logprob, kl, same = (np.concatenate([p[k] for p in parts]) for k in ("logprob", "kl", "same"))
    return {
        "tokens": len(logprob),
        "mean |difference of logprob|": logprob.mean(),
        "largest": logprob.max(),
        "mean KL": kl.mean(),
        "same top token": same.mean(),
    }


if __name__ == "__main__":
    main()
