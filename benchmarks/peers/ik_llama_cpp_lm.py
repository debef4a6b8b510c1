"""ik_llama.cpp through ik-llama-cpp-python's bindings: a prompt once, then rows in lock-step.

Steps read fixed tokens and nothing is sampled, which is generous to it. Weights are packed anew for
its kernels as they are loaded (`-rtr`).
"""

import ctypes
import time
from importlib.metadata import version
from typing import Any

import numpy as np
from ik_llama_cpp import _ctypes_api as api

VERSIONS = {"ik_llama.cpp (ik-llama-cpp-python)": version("ik-llama-cpp-python")}
_open: dict[str, Any] = {}
_lib = api._lib
_lib.llama_kv_cache_seq_cp.argtypes = [ctypes.c_void_p, *[ctypes.c_int32] * 4]
_LOG = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)
_say_nothing = _LOG(lambda level, text, data: None)


def load(file: str, threads: int, rows: int, prompt: int, new: int) -> dict[str, str]:
    """Room for `rows` sequences in one pool of cells, the prompt once. Returns its precisions."""
    _lib.llama_log_set(_say_nothing, None)
    if "model" not in _open:
        api.llama_backend_init()
        settings = api.llama_model_default_params()
        settings.repack_tensors, settings.use_mmap = True, False
        _open["model"] = api.llama_model_load_from_file(file.encode(), settings)
    if "context" in _open:
        api.llama_free(_open.pop("context"))
    settings = api.llama_context_default_params()
    settings.n_ctx = prompt + rows * new
    settings.n_batch, settings.n_ubatch = max(512, rows, prompt), max(512, rows)
    settings.n_seq_max = rows
    settings.n_threads = settings.n_threads_batch = threads
    settings.flash_attn = True
    _open["context"] = api.llama_init_from_model(_open["model"], settings)
    if not _open["context"]:
        raise RuntimeError("ik_llama.cpp could not make a context of these sizes")
    _open["batch"] = api.llama_batch_init(settings.n_batch, 0, 1)
    described = ctypes.create_string_buffer(128)
    api.llama_model_desc(_open["model"], described, len(described))
    return {
        "weights": described.value.decode().split(maxsplit=2)[-1],
        "activations": "int8 in blocks",
        "keys and values": "float16",
    }


def prefill(ids: list[int]) -> dict[str, Any]:
    """Seconds to read a prompt, and the most likely token after it."""
    api.llama_kv_cache_clear(_open["context"])
    start = time.perf_counter()
    _read([(token, position, 0) for position, token in enumerate(ids)], all_logits=False)
    logits = api.llama_get_logits_ith(_open["context"], len(ids) - 1)
    size = api.llama_vocab_n_tokens(api.llama_model_get_vocab(_open["model"]))
    token = int(np.ctypeslib.as_array(logits, (size,)).argmax())
    return {"seconds": time.perf_counter() - start, "token": token}


def decode(ids: list[int], rows: int, steps: int) -> float:
    """Seconds for `steps` steps of `rows` sequences behind one shared prompt."""
    prefill(ids)
    for row in range(1, rows):
        _lib.llama_kv_cache_seq_cp(_open["context"], 0, row, -1, -1)
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
    if status := api.llama_decode(_open["context"], batch):
        raise RuntimeError(f"llama_decode gave status {status}")
    _lib.llama_synchronize(ctypes.c_void_p(_open["context"]))
