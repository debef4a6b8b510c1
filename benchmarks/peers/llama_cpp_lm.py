"""llama.cpp through llama-cpp-python's low-level interface: a prompt once, then rows in lock-step.

Steps read fixed tokens and nothing is sampled, which is generous to it: logits are computed for
every row, as sampling would need them.
"""

import ctypes
import time
from importlib.metadata import version
from typing import Any

import llama_cpp
import numpy as np

VERSIONS = {"llama.cpp (llama-cpp-python)": version("llama-cpp-python")}
_open: dict[str, Any] = {}


@llama_cpp.llama_log_callback
def _say_nothing(level: int, text: bytes, data: ctypes.c_void_p) -> None: ...


def convert(source: str, target: str, kind: str) -> None:
    """Write the GGUF file `target`, by llama.cpp's own quantizer, all matrices in one type."""
    llama_cpp.llama_log_set(_say_nothing, ctypes.c_void_p(0))
    settings = llama_cpp.llama_model_quantize_default_params()
    settings.ftype = getattr(llama_cpp, f"LLAMA_FTYPE_MOSTLY_{kind.removesuffix('.gguf')}")
    settings.allow_requantize = settings.pure = True
    if llama_cpp.llama_model_quantize(source.encode(), target.encode(), ctypes.byref(settings)):
        raise RuntimeError(f"llama.cpp could not write {kind}")


def load(
    file: str,
    threads: int,
    rows: int,
    prompt: int,
    new: int,
    shared: bool = True,
    kept: str = "F16",
) -> dict[str, str]:
    """Room for `rows` sequences of `prompt` and `new` tokens. Returns its precisions.

    With `shared` all sequences live in one pool of cells, the prompt once; without, each has cells
    and a copy of the prompt of its own, which can be faster. Keys and values are `kept` as a type
    of ggml.
    """
    llama_cpp.llama_log_set(_say_nothing, ctypes.c_void_p(0))
    if "model" not in _open:
        llama_cpp.llama_backend_init()
        settings = llama_cpp.llama_model_default_params()
        _open["model"] = llama_cpp.llama_model_load_from_file(file.encode(), settings)
    if "context" in _open:
        llama_cpp.llama_free(_open.pop("context"))
        llama_cpp.llama_batch_free(_open.pop("batch"))
    settings = llama_cpp.llama_context_default_params()
    settings.kv_unified = shared
    settings.n_ctx = prompt + rows * new if shared else rows * (prompt + new)
    settings.n_batch, settings.n_ubatch = max(512, rows, prompt), max(512, rows)
    settings.n_seq_max = rows
    settings.type_k = settings.type_v = getattr(llama_cpp, f"GGML_TYPE_{kept}")
    settings.n_threads = settings.n_threads_batch = threads
    _open["context"] = llama_cpp.llama_init_from_model(_open["model"], settings)
    if not _open["context"]:
        raise RuntimeError("llama.cpp could not make a context of these sizes")
    _open["batch"] = llama_cpp.llama_batch_init(settings.n_batch, 0, 1)
    described = ctypes.create_string_buffer(128)
    llama_cpp.llama_model_desc(_open["model"], described, len(described))
    return {
        "weights": described.value.decode().split(maxsplit=2)[-1],
        "activations": "int8 in blocks",
        "keys and values": {"F16": "float16", "Q8_0": "int8 in blocks"}[kept],
    }


def prefill(ids: list[int]) -> dict[str, Any]:
    """Seconds to read a prompt, and the most likely token after it."""
    llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(_open["context"]), True)
    start = time.perf_counter()
    _read([(token, position, 0) for position, token in enumerate(ids)], all_logits=False)
    vocabulary = llama_cpp.llama_model_get_vocab(_open["model"])
    logits = llama_cpp.llama_get_logits_ith(_open["context"], -1)
    shape = (llama_cpp.llama_vocab_n_tokens(vocabulary),)
    token = int(np.ctypeslib.as_array(logits, shape).argmax())
    return {"seconds": time.perf_counter() - start, "token": token}


def logits(ids: list[int], path: str) -> None:
    """Write the logits (T, V) at every token of a text to a NumPy file."""
    llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(_open["context"]), True)
    _read([(token, position, 0) for position, token in enumerate(ids)], all_logits=True)
    vocabulary = llama_cpp.llama_model_get_vocab(_open["model"])
    shape = (llama_cpp.llama_vocab_n_tokens(vocabulary),)
    at = [llama_cpp.llama_get_logits_ith(_open["context"], i) for i in range(len(ids))]
    np.save(path, np.stack([np.ctypeslib.as_array(one, shape) for one in at]))


def decode(ids: list[int], rows: int, steps: int) -> float:
    """Seconds for `steps` steps of `rows` sequences behind one shared prompt."""
    prefill(ids)
    memory = llama_cpp.llama_get_memory(_open["context"])
    for row in range(1, rows):
        llama_cpp.llama_memory_seq_cp(memory, 0, row, -1, -1)
    start = time.perf_counter()
    for step in range(steps):
        token = ids[step % len(ids)]
        _read([(token, len(ids) + step, row) for row in range(rows)], all_logits=True)
    return time.perf_counter() - start


def _read(tokens: list[tuple[int, int, int]], all_logits: bool) -> None:
    batch = _open["batch"]
    batch.n_tokens = len(tokens)
    for i, (token, position, sequence) in enumerate(tokens):
        batch.token[i], batch.pos[i] = token, position
        batch.n_seq_id[i], batch.seq_id[i][0] = 1, sequence
        batch.logits[i] = all_logits or i == len(tokens) - 1
    if status := llama_cpp.llama_decode(_open["context"], batch):
        raise RuntimeError(f"llama_decode gave status {status}")
    llama_cpp.llama_synchronize(_open["context"])
