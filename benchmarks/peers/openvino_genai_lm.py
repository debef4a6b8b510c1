"""OpenVINO GenAI: rows that share their prompt's cells in pages, each choosing its likeliest token.

It has no steps of fixed tokens, so it chooses tokens itself.
"""

import time
from importlib.metadata import version
from itertools import count
from typing import Any

import numpy as np
import openvino
import openvino_genai
from peers.openvino_lm import precision

VERSIONS = {"OpenVINO GenAI": version("openvino-genai")}
_open: dict[str, Any] = {}
_names = count()
_FLOAT32 = {"INFERENCE_PRECISION_HINT": "f32", "KV_CACHE_PRECISION": "f32"}
_FLOAT32 |= {"DYNAMIC_QUANTIZATION_GROUP_SIZE": "0"}


def load(
    file: str, threads: int, rows: int, prompt: int, new: int, activations: str = ""
) -> dict[str, str]:
    """The pipeline of a folder, with room for all rows at once. Returns its precisions.

    With `activations="float32"` neither these nor keys and values are rounded; else as it chooses.
    """
    settings = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": threads}
    if activations == "float32":
        settings |= _FLOAT32
    if "precision" not in _open:
        compiled = openvino.Core().compile_model(f"{file}/openvino_model.xml", "CPU", settings)
        _open["precision"] = precision(file, compiled.get_property)
    scheduler = openvino_genai.SchedulerConfig()
    scheduler.cache_size = 2  # GB, which all rows fit in
    scheduler.max_num_seqs = rows
    scheduler.max_num_batched_tokens = max(prompt, rows * 32)
    scheduler.enable_prefix_caching = rows > 1  # a single prompt is really read each time
    _open.pop("pipeline", None)
    _open["pipeline"] = openvino_genai.ContinuousBatchingPipeline(
        file, scheduler, "CPU", properties=settings
    )
    return dict(_open["precision"])


def prefill(ids: list[int]) -> dict[str, Any]:
    """Seconds to read a prompt, and the most likely token after it."""
    start = time.perf_counter()
    handle = _ask(ids, 1)
    _finish()
    return {"seconds": time.perf_counter() - start, "token": _tokens(handle)[0]}


def decode(ids: list[int], rows: int, steps: int) -> float:
    """Seconds for `steps` steps of `rows` rows behind one prompt, which is read before."""
    if rows > 1:
        prefill(ids)  # of which all rows share the pages
    handles = [_ask(ids, steps + 1) for _ in range(rows)]
    _open["pipeline"].step()  # the first token of each comes from the prompt
    start = time.perf_counter()
    _finish()
    seconds = time.perf_counter() - start
    if any(len(_tokens(handle)) != steps + 1 for handle in handles):
        raise RuntimeError(f"OpenVINO GenAI ended a row before its {steps + 1} tokens")
    return seconds


def _ask(ids: list[int], new: int) -> Any:
    how = openvino_genai.GenerationConfig()
    how.max_new_tokens, how.ignore_eos, how.do_sample = new, True, False
    given = openvino.Tensor(np.array([ids], np.int64))
    return _open["pipeline"].add_request(next(_names), given, how)


def _finish() -> None:
    while _open["pipeline"].has_non_finished_requests():
        _open["pipeline"].step()


def _tokens(handle: Any) -> list[int]:
    return list(handle.read_all()[0].generated_ids)
