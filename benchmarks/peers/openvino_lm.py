"""OpenVINO's runtime: a prompt once, its keys and values given to N rows, then steps.

Steps read fixed tokens and nothing is sampled, which is generous to it. The vocabulary is
multiplied with the last position alone, as OpenVINO GenAI does.
"""

import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import openvino
from openvino import opset13

VERSIONS = {"OpenVINO": version("openvino")}
_open: dict[str, Any] = {}


def load(file: str, threads: int, rows: int, prompt: int, new: int) -> dict[str, str]:
    """The model of a folder; its cells grow by themselves. Returns its precisions."""
    if "request" not in _open:
        core = openvino.Core()
        model = core.read_model(Path(file, "openvino_model.xml"))
        product = model.output("logits").node.input_value(0).node
        last = opset13.slice(product.input_value(0), [-1], [2**31 - 1], [1], [1])
        product.input(0).replace_source_output(last.output(0))
        settings = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": threads}
        compiled = core.compile_model(model, "CPU", settings)
        _open["request"] = compiled.create_infer_request()
        _open["precision"] = precision(file, compiled.get_property)
    return dict(_open["precision"])


def precision(file: str, told: Any) -> dict[str, str]:
    """What a compiled model says of itself, by the names of its properties."""
    group = told("DYNAMIC_QUANTIZATION_GROUP_SIZE")
    kind = _name(told("INFERENCE_PRECISION_HINT"))
    return {
        "weights": {"4": "int4, groups of 32", "8": "int8, rows"}[file[-1]],
        "activations": f"{kind}, products at most int8 in groups of {group}" if group else kind,
        "keys and values": _name(told("KV_CACHE_PRECISION")),
    }


def _name(kind: Any) -> str:
    return kind.get_type_name() if hasattr(kind, "get_type_name") else str(kind)


def prefill(ids: list[int]) -> dict[str, Any]:
    """Seconds to read a prompt, and the most likely token after it."""
    _open["request"].reset_state()
    start = time.perf_counter()
    logits = _read(np.array([ids]), len(ids), np.zeros(1, np.int32))
    return {"seconds": time.perf_counter() - start, "token": int(logits[0, -1].argmax())}


def decode(ids: list[int], rows: int, steps: int) -> float:
    """Seconds for `steps` steps of `rows` rows behind one prompt; the first copies it."""
    prefill(ids)
    same, others = np.zeros(rows, np.int32), np.arange(rows, dtype=np.int32)
    start = time.perf_counter()
    for step in range(steps):
        tokens = np.full((rows, 1), ids[step % len(ids)])
        _read(tokens, len(ids) + step + 1, others if step else same)
    return time.perf_counter() - start


def _read(tokens: np.ndarray, length: int, rows_of: np.ndarray) -> np.ndarray:
    rows, new = tokens.shape
    positions = np.broadcast_to(np.arange(length - new, length), (rows, new))
    inputs = {
        "input_ids": tokens,
        "attention_mask": np.ones((rows, length), np.int64),
        "position_ids": positions,
        "beam_idx": rows_of,
    }
    known = {key.any_name for key in _open["request"].model_inputs}
    given = {key: value for key, value in inputs.items() if key in known}
    logits: np.ndarray = _open["request"].infer(given)["logits"]
    return logits
