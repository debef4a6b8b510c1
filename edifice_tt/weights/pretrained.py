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
from edifice_tt.weights.llama import load_gguf


def load_pretrained(model: str | os.PathLike[str], device: str | None = None) -> Any:
    """Load a language model: a catalog name, a GGUF file, or whatever an installed plugin reads.

    A catalog model that is not on this machine is downloaded first. Raises `UnknownNameError` for
    a name that is neither a file nor in the catalog, and `CheckpointError` for a file that nobody
    can read.
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
            f"{path}: no installed format reads it; edifice_tt reads GGUF files of llama models"
        )
    lm.name = name
    return place(lm, opened)


def load_builtin(path: Path) -> Any:
    """The formats that edifice_tt itself reads; None for any other."""
    return load_gguf(path) if is_gguf(path) else None
