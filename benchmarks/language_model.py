"""The language model under test, its prompts and its peers: for decode, prefill and growth."""

import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from formats import Subject
from random_model import SHAPES, write_model
from timing import OURS, PRECISION, Report
from tinygrad.nn.state import get_parameters

import edifice_tt as et
from edifice_tt.weights import catalog

MODEL = "smollm2-135m"
_TEXT = (
    "A river carries water from the hills to the sea. On its way it turns the wheels of mills, "
    "waters the fields of farmers and takes boats from town to town. In spring the snow melts and "
    "the river is wide and brown; in summer it is narrow and clear, and children walk across it. "
)


SHAPE: dict[str, Any] = {
    "choices": sorted(SHAPES),
    "help": "a file of random weights in Q4_K_M (default: SmolLM2-135M)",
}


def model_file() -> str:
    """The model's file, downloaded first where it is not here."""
    return str(catalog.pull(MODEL))


@contextmanager
def file_of(shape: str | None, mix: str = "Q4_K_M") -> Iterator[str]:
    """The model's file, or one of random weights that is there for as long."""
    if shape is None:
        yield model_file()
        return
    with TemporaryDirectory() as folder:
        yield str(write_model(Path(folder, "m.gguf"), shape, mix))


ACTIVATIONS: dict[str, Any] = {
    "choices": ["float32", "float16", "bfloat16", "int8"],
    "nargs": "+",
    "default": ["float32", "int8"],
    "help": "of edifice_tt, as in load_pretrained (default: both)",
}


def add_each(
    report: Report,
    case: str,
    times: dict[str, list[float]],
    amount: float,
    more: Mapping[str, Mapping[str, Any]],
) -> None:
    """Each of our own ways beside the same peers; subjects are ways of ours, or peers.

    `more` is what else is known of each, such as its precisions.
    """
    ours = [way for way in times if way in ACTIVATIONS["choices"]]
    for way in ours:
        theirs = {name: seconds for name, seconds in times.items() if name not in ours}
        known = {OURS: more[way], **more}
        report.add(f"{case}, {way}", {OURS: times[way], **theirs}, amount, more=known)


def weights_of(options: Any) -> str:
    """The types of the weights in the model's file, or in that of a shape."""
    return "Q4_K_M" if options.shape else "Q4_1"


def precision(lm: Any, weights: str, activations: str) -> dict[str, str]:
    """What a model of ours computes in, as the peers say it of theirs."""
    kinds = (weights, {"int8": "int8 in blocks"}.get(activations, activations), lm.kv_dtype)
    return dict(zip(PRECISION, kinds, strict=True))


def reached(lm: Any, seconds: float, steps: int, rows: int, tokens: int = 0) -> dict[str, float]:
    """GB/s and TFLOPS of decoding rows for some steps, or of reading tokens: the weights' alone.

    Each step reads every weight once. A prompt's tokens are not multiplied with the vocabulary.
    """
    weights = {buffer.uop: buffer.nbytes() for buffer in get_parameters(lm)}
    flop = 2 * (lm.config.num_weights * rows * steps + lm.config.backbone.num_weights * tokens)
    rates = {"GB/s": steps * sum(weights.values()) / 1e9, "TFLOPS": flop / 1e12}
    return {name: amount / seconds for name, amount in rates.items() if amount}


def load_endless(activations: str = "float32", model: str = MODEL) -> Any:
    """A model with nothing that ends an answer early, so that steps are measured."""
    lm = et.load_pretrained(model, activations=activations)
    lm.tokenizer = replace(lm.tokenizer, stop_ids=frozenset())
    return lm


def prompts(lm: Any, tokens: int) -> Iterator[str]:
    """Ever other texts of exactly that many tokens, so that none has been read before."""
    nth = 0
    while True:
        nth += 1
        ids = lm.tokenizer.encode(f"Note {nth}. " + _TEXT * (tokens // 32 + 1))[:tokens]
        text = lm.tokenizer.decode(ids)
        if len(ids) != tokens or lm.tokenizer.encode(text) != ids:
            raise SystemExit(f"no prompt of {tokens} tokens could be made; use another length")
        yield text


def read_seconds(lm: Any, prompt: str) -> float:
    """Seconds to read a prompt and draw one token."""
    start = time.perf_counter()
    et.generate(lm, prompt, n=1, max_tokens=1)
    return time.perf_counter() - start


def decode_seconds(lm: Any, prompt: str, rows: int, steps: int, **options: Any) -> float:
    """Seconds of `steps` decode steps of `rows` candidates, sampling and texts with them."""
    times: list[float] = []
    options |= {"n": rows, "max_tokens": steps + 1}
    et.generate(lm, prompt, on_token=lambda _: times.append(time.perf_counter()), **options)
    if len(times) != rows * (steps + 1):
        raise SystemExit(f"{len(times)} tokens came, expected {rows * (steps + 1)}")
    return times[-1] - times[rows - 1]  # from the moment when every row had its first token


def check_same_token(lms: Iterable[Any], prompt: str, peers: Mapping[str, Subject]) -> None:
    """Every peer must think the same token the most likely after the prompt.

    Those whose weights are rounded otherwise than ours may differ, which is told.
    """
    for lm in lms:
        chosen = et.generate(lm, prompt, n=1, temperature=0, max_tokens=1)
        greedy = chosen.candidates[0].token_ids[0]
        for name, peer in peers.items():
            theirs = peer.prefill(lm.tokenizer.encode(prompt))["token"]
            if theirs != greedy:
                texts = [lm.tokenizer.decode([token]) for token in (theirs, greedy)]
                differs = f"after the prompt {name} says {texts[0]!r}, we {texts[1]!r}"
                if not peer.rounded:
                    raise SystemExit(differs)
                print(differs, file=sys.stderr)
