"""A name or a path -> a language model with its weights and tokenizer."""

import os
from functools import partial
from pathlib import Path

from edifice_tt.architectures.attached import add_head, check_head
from edifice_tt.architectures.causal_lm import CausalLM
from edifice_tt.architectures.model import Model
from edifice_tt.contract.errors import CheckpointError, EdificeError, unknown_name
from edifice_tt.contract.plugins import load_plugins
from edifice_tt.contract.tracing import blamed
from edifice_tt.machine.toolchain import open_device
from edifice_tt.nn.buffers import place
from edifice_tt.nn.cache import check_kv_dtype, choose_kv_dtype
from edifice_tt.nn.stored.halves import check_dtype, choose_dtype, store
from edifice_tt.weights import catalog, hub, ollama
from edifice_tt.weights.checkpoint import load
from edifice_tt.weights.families import FAMILIES
from edifice_tt.weights.gguf_header import is_gguf
from edifice_tt.weights.gguf_model import check_activations, load_gguf
from edifice_tt.weights.gguf_names import whole_name
from edifice_tt.weights.huggingface import is_huggingface, load_huggingface


def load_pretrained(
    model: str | os.PathLike[str],
    device: str | None = None,
    dtype: str | None = None,
    activations: str = "float32",
    kv_dtype: str | None = None,
    *,
    scorer: str | None = None,
) -> CausalLM:
    """Load a language model: a catalog name, a GGUF file, a Hugging Face folder, or a saved model.

    `owner/repo` and `owner/repo/FILE.gguf` are models at Hugging Face, unless there is such a path,
    and with `hf:` before them in any case. `ollama:NAME:TAG` is what ollama has here.

    `dtype` (`float32`, `float16` or `bfloat16`) is what dense layers and the embedding are stored
    as; all sums stay float32. By default a GGUF file's own blocks stay as they are on CPU, CL,
    METAL, CUDA and NV. Our own files keep what they were saved with, and the rest is float32. A
    device that has it not makes it float32, which is one `PrecisionWarning`.

    `activations="int8"` rounds what enters each product with weights of 2 to 8 bits to 8 bits too,
    as llama.cpp does. It is faster, on tinygrad's CPU device and for GGUF files only.
    Weights of other types are multiplied in float32 as ever. On SmolLM2-135M the log-probability of
    a next token moves by 0.07 on average, and single ones by 5 and more. The KL divergence from the
    exact model is 0.004 nats. In 96 % of positions the most likely token is the same. llama.cpp,
    measured alike, has the same three figures. Pools say in their settings what sampled them.

    `activations="float16"` takes the products in float16, where the processor computes in it, and
    adds up their runs in float32. On SmolLM2-135M the log-probability of a next token moves by 0.01
    on average, and by 0.07 at most; the KL divergence is 0.00008 nats. Many rows are faster than in
    float32 and slower than with int8; one row gains nothing. For GGUF files whose weights are at
    most 64.

    `activations="bfloat16"` takes the products that int8 takes in bfloat16, by Intel's AMX, and
    sums them in float32. On SmolLM2-135M the log-probability of a next token moves by 0.014 on
    average, and by 0.15 at most; the KL divergence is 0.0002 nats. Prompts are about as fast as
    with int8, and few rows slower.

    `kv_dtype` (`float32`, `float16` or, on a CPU, `int8`) is what keys and values are kept as. By
    default it is float32 on CPU, and float16 on CL, METAL, CUDA and NV: half the memory of a text.
    int8 is about a quarter. Sums, and the states of recurrent layers, stay float32. Pools say it.

    `scorer` names a registered head to add, with new weights, to a model that has none. Training it
    is up to you; `edifice_tt.save` keeps it. A saved model with a head of that name keeps its own.

    An installed plugin may read further formats. A named model that is not on this machine is
    downloaded first; one that is, is taken as it is. A name of the catalog is the catalog's model
    even beside a folder of that name, which is `./name`.

    Raises `UnknownNameError` for a name that is neither a path nor in the catalog, and for an
    unknown scorer. Raises `EdificeError` for a model with another head than `scorer`. Raises
    `CheckpointError` for a file that is not there or that nobody can read, and `ValueError` where
    `activations` cannot be rounded, or keys and values not kept so.
    """
    check_activations(activations)
    check_dtype(dtype)
    check_kv_dtype(kv_dtype)
    if scorer is not None:
        check_head(scorer)
    named = _find(model)
    opened = open_device(device)
    check_kv_dtype(kv_dtype, opened)
    path, name = _located(model, named)
    # Our own formats first; a plugin sees only the path, and the first that knows it answers.
    lm: CausalLM | None
    if activations == "float32":
        lm = load_builtin(path, opened, dtype)
    elif is_gguf(path):
        lm = load_gguf(path, opened, dtype, activations)
    else:
        raise ValueError(
            f"activations={activations!r} is for GGUF files, given {path}; leave it out"
        )
    if lm is None:
        with blamed(f"{path}: a plugin failed to load it", own=(EdificeError,)):
            lm = load_plugins().manager.hook.load_pretrained(path=path)
    if lm is None:
        if path.is_file() and (size := path.stat().st_size) < 4:  # no format's first word
            raise CheckpointError(f"{path}: the file has {size} bytes, too few to hold a model")
        raise CheckpointError(
            f"{path}: no installed format reads it; edifice_tt reads GGUF files and Hugging Face "
            f"folders of the families {', '.join(FAMILIES)}"
        )
    lm.name, lm.kv_dtype = name, choose_kv_dtype(kv_dtype, opened)
    place(lm, opened)
    if scorer is not None:
        add_head(lm, scorer)
    if dtype is not None:
        lm = store(lm, choose_dtype(dtype, opened))
    again = lasting(model)
    lm.reload = partial(load_pretrained, again, device, dtype, activations, scorer=scorer)
    return lm


def lasting(model: str | os.PathLike[str]) -> str | Path:
    """What names the same model from any folder."""
    return _find(model) or Path(model).resolve()


def locate(model: str | os.PathLike[str]) -> tuple[Path, str]:
    """The file or folder of a model, pulled if need be, and its name; raises as above."""
    return _located(model, _find(model))


def _located(model: str | os.PathLike[str], named: str | None) -> tuple[Path, str]:
    path = Path(model) if named is None else _fetched(named)
    if not os.access(path, os.R_OK):
        raise CheckpointError(f"{path}: permission denied")
    # A pool's settings are UTF-8, which a path need not be.
    return path, named or whole_name(path).encode(errors="backslashreplace").decode()


def _fetched(name: str) -> Path:
    """What a name means; an error tells where ollama has a model of that name here."""
    try:
        return catalog.locate(name)
    except EdificeError as error:
        kept = ollama.PREFIX + name
        if kept in {one for one, _ in ollama.manifests()}:
            raise type(error)(f"{error}; did you mean {kept}, which ollama has here?") from error
        raise


def _find(model: str | os.PathLike[str]) -> str | None:
    """The name that is meant, or None for a path that is there."""
    text, known = os.fspath(model), [entry.name for entry in catalog.CATALOG]
    if not text.strip():
        raise ValueError(
            f"model={text!r} names no model; give a name of the catalog (edifice-tt models lists "
            "them), a GGUF file, a Hugging Face folder or owner/repo"
        )
    if isinstance(model, str) and model in known:
        return model
    if Path(model).exists():
        return None
    if isinstance(model, str) and (hub.is_name(model) or ollama.is_name(model)):
        return model
    looks_like_a_path = Path(text).name != text or Path(text).suffix[1:].isalpha()
    if looks_like_a_path or not isinstance(model, str):
        raise CheckpointError(
            f"{text}: there is no such file or folder; edifice-tt models lists what can be named"
        )
    raise unknown_name("model", text, [*known, *(name for name, _ in ollama.manifests())])


def load_builtin(
    path: Path, device: str | None = None, dtype: str | None = None
) -> CausalLM | None:
    """The formats that edifice_tt itself reads; None for any other."""
    if is_gguf(path):
        return load_gguf(path, device, dtype)
    if path.suffix == ".safetensors" and path.is_file():
        return _language_model(path, load(path, device, dtype))
    return load_huggingface(path, device, dtype) if is_huggingface(path) else None


def _language_model(path: Path, model: Model) -> CausalLM:
    if not isinstance(model, CausalLM):
        raise CheckpointError(
            f"{path}: it holds a {model.architecture}, which is no language model; load it with "
            "edifice_tt.load"
        )
    return model
