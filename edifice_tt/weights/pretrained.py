"""A name or a path -> a language model with its weights and tokenizer."""

import os
from pathlib import Path
from typing import Any

from edifice_tt.errors import CheckpointError
from edifice_tt.nn.init import place
from edifice_tt.plugins import load_plugins
from edifice_tt.toolchain import open_device
from edifice_tt.weights import catalog
from edifice_tt.weights.gguf import is_gguf
from edifice_tt.weights.huggingface import is_huggingface, load_huggingface
from edifice_tt.weights.llama import load_gguf


def load_pretrained(model: str | os.PathLike[str], device: str | None = None) -> Any:
    """Load a language model: a catalog name, a GGUF file or a Hugging Face folder.

    An installed plugin may read further formats. A catalog model that is not on this machine is
    downloaded first. Raises `UnknownNameError` for a name that is neither a path nor in the
    catalog, and `CheckpointError` for a file that nobody can read.
    """
    opened = open_device(device)
    path = Path(model)
    name = path.stem
    if not path.exists():
        name = catalog.find(os.fspath(model)).name
        path = catalog.pull(name)
    # A plugin sees only the path; the first that knows the format answers.
    lm = load_plugins().manager.hook.load_pretrained(path=path)
    if lm is None:
        raise CheckpointError(
            f"{path}: no installed format reads it; edifice_tt reads GGUF files and Hugging Face "
            "folders of llama models"
        )
    lm.name = name
    return place(lm, opened)


def load_builtin(path: Path) -> Any:
    """The formats that edifice_tt itself reads; None for any other."""
    if is_gguf(path):
        return load_gguf(path)
    return load_huggingface(path) if is_huggingface(path) else None
