"""CTranslate2: a prompt kept as it keeps static ones, then N rows, drawn greedily.

It has no steps of fixed tokens, so it chooses the most likely one of each row.
"""

import json
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import ctranslate2

VERSIONS = {"CTranslate2": version("ctranslate2")}
_open: dict[str, Any] = {}


def convert(source: str, target: str, kind: str) -> None:
    """Write the folder `target` of one of Hugging Face, weights in whole numbers of 8 bits."""
    from ctranslate2.converters import TransformersConverter

    TransformersConverter(source).convert(target, quantization=kind.removeprefix("ct2-"))


def load(file: str, threads: int, rows: int, prompt: int, new: int) -> dict[str, str]:
    """The model of a folder; its cells grow by themselves. Returns its precisions."""
    if "generator" not in _open:
        settings = {"compute_type": "int8", "inter_threads": 1, "intra_threads": threads}
        _open["generator"] = ctranslate2.Generator(file, device="cpu", **settings)
        _open["words"] = json.loads(Path(file, "vocabulary.json").read_text())
    return {
        "weights": "int8, rows",
        "activations": f"{_open['generator'].compute_type}, rows",
        "keys and values": "float32",
    }


def prefill(ids: list[int]) -> dict[str, Any]:
    """Seconds to read a prompt, and the most likely token after it."""
    start = time.perf_counter()
    found = _generate([_words(ids)], 1)
    return {"seconds": time.perf_counter() - start, "token": found[0].sequences_ids[0][0]}


def decode(ids: list[int], rows: int, steps: int) -> float:
    """Seconds for `steps` steps of `rows` rows behind one prompt, which is read before."""
    *prompt, last = _words(ids)
    _generate([[last]], 1, static_prompt=prompt)
    start = time.perf_counter()
    found = _generate([[last]] * rows, steps, static_prompt=prompt)
    seconds = time.perf_counter() - start
    if any(len(one.sequences_ids[0]) != steps for one in found):
        raise RuntimeError(f"CTranslate2 ended a row before its {steps} tokens")
    return seconds


def _words(ids: list[int]) -> list[str]:
    return [_open["words"][token] for token in ids]


def _generate(rows: list[list[str]], new: int, **more: Any) -> list[Any]:
    return list(
        _open["generator"].generate_batch(
            rows,
            max_length=new,
            min_length=new,
            end_token=[],
            sampling_topk=1,
            include_prompt_in_result=False,
            **more,
        )
    )
