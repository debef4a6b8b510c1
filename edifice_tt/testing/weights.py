"""Checks that training and saving find all weights of a head. Knows files, gradients, seeds."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from tinygrad import Context, Tensor, dtypes
from tinygrad.nn.state import get_state_dict, inverse_safe_dtypes

from edifice_tt.contract import registry
from edifice_tt.testing.hidden import hidden_arrays
from edifice_tt.testing.promises import Array, BrokenPromise, attempt, compare
from edifice_tt.testing.reading import compare_scores, draw, read
from edifice_tt.weights.checkpoint import load, save
from edifice_tt.weights.safetensors import differences, fill, open_safetensors, write_safetensors


def steady(head: Any) -> Any:
    """Make zero weights nonzero, since they would hide what the head does."""
    for seed, weight in enumerate(_trained(head).values()):
        if not weight.numpy().any():
            noise = draw(*(int(size) for size in weight.shape), seed=seed) * np.float32(0.1)
            moved = Tensor(noise, device=weight.device).cast(weight.dtype)
            weight.replace(moved.contiguous().realize())
    return head


def _trained(head: Any) -> dict[str, Tensor]:
    """The weights that gradients can reach; a buffer has no floats or `is_param_(False)`."""
    weights = get_state_dict(head)
    return {k: w for k, w in weights.items() if w.is_param and dtypes.is_float(w.dtype)}


def check_attributes(who: str, head: Any) -> None:
    """Check that every weight is a Tensor attribute with memory, so that saving finds it."""
    for name, weight in get_state_dict(head).items():
        if weight.device is None or weight.dtype not in inverse_safe_dtypes:
            raise BrokenPromise(
                f"{who} has a weight that can neither be saved nor trained: {name!r} is a constant "
                f"{weight.dtype} of shape {tuple(weight.shape)}; make it of a list or an array, "
                "Tensor([1.0])"
            )
    weights = list(get_state_dict(head).values())
    for where, one in hidden_arrays(head):
        if any(one is weight for weight in weights):
            continue
        kind = "a Tensor" if isinstance(one, Tensor) else "an array"
        # Beside weights an array counts as a table of constants; alone it is an unsaved weight.
        if weights and kind == "an array":
            continue
        number = "no weight found" if not weights else f"{len(weights)} found"
        raise BrokenPromise(
            f"{who} has a weight that is neither saved nor trained: {number}, but {kind} of shape "
            f"{tuple(one.shape)} hides in {where}; make it a Tensor attribute of the head"
        )


def check_complete(who: str, names: list[str], head: Any) -> None:
    """Check that using a head adds no weights and removes none."""
    now = get_state_dict(head)
    if names != list(now):
        changed = ", ".join(repr(name) for name in sorted(set(names) ^ set(now)))
        raise BrokenPromise(
            f"{who} has {len(names)} weights when it is made and {len(now)} when it was used "
            f"({changed}); make all in the constructor, keep no other Tensor on the head"
        )


def check_gradients(who: str, head: Any, hidden: Array) -> None:
    """Check that the gradient of a weighted sum of all scores reaches every weight."""
    weights = _trained(head)
    if not weights:
        return
    for weight in weights.values():
        weight.grad = None
    scores = head(Tensor(hidden))  # (B, T, 1)
    loss = (scores.float() * Tensor(draw(*hidden.shape[:2], 1, seed=14))).sum()
    attempt(who, "when gradients are taken", loss.backward)
    for name, weight in weights.items():
        gradient = None if weight.grad is None else weight.grad.numpy()
        if gradient is None or not np.isfinite(gradient).all() or not gradient.any():
            value = "none" if gradient is None else f"{gradient.flat[0]:.6g}"
            raise BrokenPromise(
                f"{who}: the gradient does not reach weight {name!r}: it gets {value}, expected "
                "finite numbers other than 0; use it, without detach() or numpy() on the way"
            )
        weight.grad = None


def check_seed(who: str, head: Any, same: Any) -> None:
    """Check that two heads made with the same arguments have the same weights."""
    others = get_state_dict(same)
    words = (
        "starts with {} and then with {}; draw them from numpy.random.default_rng(seed), with seed "
        "a parameter of the factory"
    )
    for name, weight in get_state_dict(head).items():
        subject = f"{who} is made with other weights each time: {name!r}"
        compare(subject, weight.numpy(), others[name].numpy(), words, 0)


def check_file(
    who: str, head: Any, make_other: Callable[[], Any], hidden: Array, folder: Path
) -> None:
    """Check that a trained head scores the same after loading its file.

    `make_other` makes a head with another seed, so that only the file can restore the scores.
    """
    path = folder / "head.safetensors"

    def restore() -> Any:
        other = make_other()
        weights, file = get_state_dict(other), open_safetensors(path)
        entries = {name: (entry.shape, entry.dtype) for name, entry in file.entries.items()}
        if lines := differences(weights, entries):
            raise BrokenPromise(
                f"{who} cannot be loaded: a fresh head and the file of one that was used differ in "
                f"{len(lines)} weights ({'; '.join(lines)}); make every weight in the constructor"
            )
        fill(weights, {name: name for name in weights}, file)
        return other

    _check_restored(
        who, head, lambda: write_safetensors(path, get_state_dict(head), {}), restore, hidden
    )


def check_model_file(who: str, scorer: str, hidden: Array, folder: Path) -> None:
    """`check_file` for a registered head, as part of a saved and loaded model."""
    path, size = folder / "model.safetensors", hidden.shape[2]
    options = {"num_layers": 1, "num_heads": 1, "num_kv_heads": 1, "scorer_hidden": 8}
    model = attempt(
        who,
        "when a model is built with it",
        lambda: registry.build(
            "test_time_compute", embed_dim=size, hidden_size=size, scorer=scorer, **options
        ),
    )
    _check_restored(who, model.scorer, lambda: save(model, path), lambda: load(path).scorer, hidden)


def _check_restored(
    who: str, head: Any, write: Callable[[], None], restore: Callable[[], Any], hidden: Array
) -> None:
    # The file must hold what training accumulates, too.
    with Context(TRAINING=1):
        read(who, head, hidden)
    before = read(who, head, hidden)
    attempt(who, "when its weights are saved", write)
    after = read(who, attempt(who, "when it is loaded", restore), hidden)
    promise = "the score does not survive save and load: {} before, {} after; keep all state in"
    compare_scores(who, before, after, f"{promise} Tensor attributes", tolerance=0)
