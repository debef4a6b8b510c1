"""Checks a file format of a plugin by one of its files. Knows the contract of the hook."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from shutil import copytree
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from edifice_tt.architectures.causal_lm import CausalLM
from edifice_tt.contract.errors import EdificeError
from edifice_tt.contract.plugins import load_plugins
from edifice_tt.contract.tracing import show
from edifice_tt.testing.promises import BrokenPromise, attempt
from edifice_tt.weights.tokenizer import Tokenizer

FOREIGN = {"empty": b"", "text": b"not a model\n", "zeros": bytes(4096)}
PARTS = (0, 1, 2, 3, 7)  # eighths of a file that was cut off


def check_format(path: Path | str, load: Callable[[Path], Any] | None = None) -> None:
    """Raise `BrokenPromise` unless a plugin's `load_pretrained` keeps its contract.

    Give a file or folder of the format, and the function if it is not installed.

    It returns a `causal_lm` whose `tokenizer` is an `edifice_tt.Tokenizer` or None and fits the
    vocabulary. The model gives finite numbers, has the same weights when it is loaded again, and
    the file stays as it was. For files of other formats, also of this name, it returns None or
    raises an `EdificeError`. So it does for a file that was cut off, unless it can read that.
    """
    path = Path(path)
    load = load or _installed
    who = f"the format of {path.name}"
    before = _bytes(path)
    model = attempt(who, "when the file is loaded", lambda: load(path))
    _check_model(who, model)
    again = attempt(who, "when the file is loaded again", lambda: load(path))
    if again is model:
        raise BrokenPromise(f"{who} gives the same model twice; load it anew each time")
    if again.fingerprint != model.fingerprint:
        raise BrokenPromise(
            f"{who} gives other weights when it is loaded again: the fingerprints are "
            f"{model.fingerprint} and {again.fingerprint}"
        )
    if _bytes(path) != before:
        raise BrokenPromise(f"{who} changes its file {path}; only read it")
    with TemporaryDirectory() as folder:
        for name, content in FOREIGN.items():
            other = Path(folder, f"{name}.foreign")
            other.write_bytes(content)
            with _promised(who, f"for a file of another format ({name})"):
                if (found := load(other)) is not None:
                    raise BrokenPromise(
                        f"{who} gives {show(found):.60} for a file of another format ({name}), "
                        "expected None"
                    )
        for eighths in PARTS:
            cut = Path(folder, str(eighths), path.name)
            _cut(path, cut, eighths)
            with _promised(who, f"for a file of which {eighths}/8 are left"):
                load(cut)


def _installed(path: Path) -> Any:
    return load_plugins().manager.hook.load_pretrained(path=path)


def _check_model(who: str, model: Any) -> None:
    if model is None:
        raise BrokenPromise(f"{who}: no plugin reads it; expected a model, given None")
    if not isinstance(model, CausalLM):
        raise BrokenPromise(
            f"{who} gives {show(model):.60}, expected a causal_lm; make it by "
            "edifice_tt.build('causal_lm', ...) and give it the file's weights"
        )
    tokenizer, size = model.tokenizer, model.config.vocab_size
    if tokenizer is not None:
        if not isinstance(tokenizer, Tokenizer):
            raise BrokenPromise(
                f"{who} gives a model with the tokenizer {show(tokenizer):.60}, expected an "
                "edifice_tt.Tokenizer, by its from_folder, from_gguf or from_json"
            )
        if tokenizer.vocab_size > size:
            raise BrokenPromise(
                f"{who}: the tokenizer has {tokenizer.vocab_size} tokens for {size} embeddings"
            )
    ids = [[i * 7 % size for i in range(min(5, model.config.context_length))]]
    logits = attempt(who, "when the model is called", lambda: model(ids).logits.numpy())
    if not np.isfinite(logits).all():
        raise BrokenPromise(f"{who} gives a model whose logits are not all finite numbers")


@contextmanager
def _promised(who: str, when: str) -> Iterator[None]:
    """Errors of our own are the promised answer to such a file; others break the promise."""
    try:
        yield
    except BrokenPromise:
        raise
    except EdificeError:
        pass
    except Exception as error:
        what = f"{type(error).__name__}: {error}"
        raise BrokenPromise(
            f"{who} raises {what:.120} {when}, expected None or a CheckpointError"
        ) from error


def _files(path: Path) -> list[Path]:
    return [path] if path.is_file() else sorted(one for one in path.rglob("*") if one.is_file())


def _bytes(path: Path) -> list[tuple[Path, bytes]]:
    return [(one, one.read_bytes()) for one in _files(path)]


def _cut(path: Path, copy: Path, eighths: int) -> None:
    """A copy of a file, or of a folder, whose largest file is cut off."""
    copy.parent.mkdir()
    if path.is_dir():
        copytree(path, copy)
    largest = max(_files(path), key=lambda one: one.stat().st_size)
    content = largest.read_bytes()
    (copy / largest.relative_to(path)).write_bytes(content[: len(content) * eighths // 8])
