"""Checks an architecture: builds it, calls it, saves it, compiles it.

Knows the contract of `register_architectures`, and only the inputs that a config implies.
"""

from collections.abc import Callable
from dataclasses import asdict, is_dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from tinygrad import Tensor, dtypes
from tinygrad.nn.state import get_state_dict

from edifice_tt.contract import registry
from edifice_tt.contract.registry import Architecture
from edifice_tt.contract.tracing import named
from edifice_tt.engine.jit import jit
from edifice_tt.machine.toolchain import open_device
from edifice_tt.testing.promises import TOLERANCE, Array, BrokenPromise, attempt, compare, orders
from edifice_tt.testing.reading import draw
from edifice_tt.weights.checkpoint import load, save

B, T = 3, 5

Outputs = dict[str, Array]


def check_architecture(name: str, x: Tensor | None = None, **options: Any) -> None:
    """Raise `BrokenPromise` unless a registered architecture keeps its contract.

    `options` go to `build`: required ones, and small sizes, since it is built several times. `x` is
    the input (B, ...); by default token ids (B, T) for a config with `vocab_size`, hidden states
    (B, T, embed_dim) for one with `embed_dim`.

    The recommended defaults must be those that `build` uses. The error for an unknown option must
    name the nearest. `output_size` must be the width of `.backbone`. The output must be a named
    tuple of finite Tensors (B, ...), with `.scores` (B, T, 1) if present. It must not depend on the
    order of the batch, and be bit-identical after save and load and under `edifice_tt.jit`.

    Raises `UnknownNameError` for an unknown name and `ValueError` when `x` is needed but missing.

    >>> check_architecture("test_time_compute", embed_dim=6, hidden_size=8, num_layers=1)
    """
    record = registry.architecture(name)
    who = named("architecture", record)
    open_device()

    def build(**more: Any) -> Any:
        return registry.build(name, **{**options, **more})

    model = attempt(who, f"when it is built with {_say(options)}", build)
    _check_defaults(who, record, model, build, options)
    _check_unknown_option(who, record, build)
    x = _input(model) if x is None else x
    outputs = _call(who, model, x)
    _check_output_size(who, record, outputs, options)
    _check_batch(who, model, x, outputs)
    _check_file(who, model, x, outputs)
    compiled = jit(model)
    for _ in range(3):  # on a GPU the first call runs eagerly, the second captures
        other = _call(who, compiled, x, ", compiled by jit")
        _compare(who, outputs, other, "the compiled model gives {1}, the eager one {0}", TOLERANCE)


def _say(options: dict[str, Any]) -> str:
    return ", ".join(f"{name}={value!r}" for name, value in options.items()) or "no options"


def _check_defaults(
    who: str, record: Architecture, model: Any, build: Callable[..., Any], options: dict[str, Any]
) -> None:
    defaults = attempt(who, "in recommended_defaults()", record.recommended_defaults)
    if not isinstance(defaults, dict) or not all(isinstance(key, str) for key in defaults):
        raise BrokenPromise(
            f"{who}: recommended_defaults() gives a {type(defaults).__name__}, expected a dict of "
            "options"
        )
    config = getattr(model, "config", None)
    if getattr(model, "architecture", None) != record.name or not is_dataclass(config):
        raise BrokenPromise(
            f"{who} cannot be saved: its model has architecture="
            f"{getattr(model, 'architecture', None)!r} and config={config!r:.60}, expected "
            f"{record.name!r} and a dataclass of the options"
        )
    for option, value in defaults.items():
        used = repr(getattr(config, option)) if hasattr(config, option) else "no such option"
        if option not in options and used != repr(value):
            raise BrokenPromise(
                f"{who}: recommended_defaults() says {option}={value!r}, build() uses {used}; "
                "derive one from the other"
            )
    everything = {**defaults, **options}
    how = f"when it is built with its own defaults, {_say(everything)}"
    again = attempt(who, how, lambda: build(**everything))
    if again.config != config:
        models = f"build() makes {again.config!r}, without them {config!r}"
        raise BrokenPromise(f"{who}: given its own defaults, {models}")


def _check_unknown_option(who: str, record: Architecture, build: Callable[..., Any]) -> None:
    for option in record.recommended_defaults():
        unknown = option[:-2] + option[:-3:-1] if len(set(option[-2:])) == 2 else option + "_"
        try:
            build(**{unknown: 1})
        except Exception as error:
            message = " ".join(str(error).split())
            if option in message.replace(unknown, ""):
                continue
            raise BrokenPromise(
                f"{who}: the error for the unknown option {unknown!r} does not name {option!r}, "
                f"the nearest: {message}"
            ) from error
        raise BrokenPromise(
            f"{who} ignores unknown options: it was built with {unknown}=1, expected an error that "
            f"names {option!r}"
        )


def _input(model: Any) -> Tensor:
    if vocab_size := getattr(model.config, "vocab_size", None):
        ids = np.arange(B * T, dtype=np.int32).reshape(B, T) * 7 % vocab_size
        return Tensor(ids, dtype=dtypes.int32)
    if embed_dim := getattr(model.config, "embed_dim", None):
        return Tensor(draw(B, T, embed_dim))
    raise ValueError("its config has neither vocab_size nor embed_dim; give an input as x=...")


def _call(who: str, model: Any, x: Tensor, how: str = "") -> Outputs:
    out = attempt(who, f"on an input of shape {x.shape}{how}", lambda: model(x))
    fields = out._asdict() if hasattr(out, "_asdict") else {}
    tensors = {name: value for name, value in fields.items() if value is not None}
    if not tensors or not all(isinstance(value, Tensor) for value in tensors.values()):
        raise BrokenPromise(
            f"{who} gives {type(out).__name__}, expected a named tuple of Tensors, of which some "
            "may be None"
        )
    outputs = {name: value.numpy() for name, value in tensors.items()}
    for name, values in outputs.items():
        if values.shape[:1] != x.shape[:1]:
            raise BrokenPromise(
                f"{who} gives .{name} of shape {values.shape} for an input of shape {x.shape}, "
                "expected the same batch"
            )
        if not np.isfinite(values).all():
            bad = values[~np.isfinite(values)].flat[0]
            raise BrokenPromise(f"{who} gives {bad} in .{name}, expected finite numbers")
    scores, expected = outputs.get("scores"), (*x.shape[:2], 1)
    if scores is not None and scores.shape != expected:
        raise BrokenPromise(f"{who} gives .scores of shape {scores.shape}, expected {expected}")
    return outputs


def _check_output_size(
    who: str, record: Architecture, outputs: Outputs, options: dict[str, Any]
) -> None:
    size = attempt(who, "in output_size()", lambda: registry.output_size(record.name, **options))
    if type(size) is not int or size < 1:
        raise BrokenPromise(f"{who}: output_size() gives {size!r}, expected an int of at least 1")
    if "backbone" in outputs and (width := outputs["backbone"].shape[-1]) != size:
        raise BrokenPromise(
            f"{who}: output_size() says {size}, the model's .backbone is {width} wide"
        )


def _check_batch(who: str, model: Any, x: Tensor, outputs: Outputs) -> None:
    values = x.numpy()
    _compare(who, outputs, _call(who, model, x), "the same input gives {} at first and then {}")
    for order in orders(len(values)):
        moved = _call(who, model, Tensor(values[order], dtype=x.dtype))
        back = {name: value[np.argsort(order)] for name, value in moved.items()}
        promise = "the output depends on the order of the batch: {} in one order, {} in another"
        _compare(who, outputs, back, promise, TOLERANCE)


def _check_file(who: str, model: Any, x: Tensor, outputs: Outputs) -> None:
    if not get_state_dict(model):
        raise BrokenPromise(f"{who} has no weights: 0 Tensor attributes found in its model")
    with TemporaryDirectory() as folder:
        path = Path(folder) / "model.safetensors"
        attempt(who, "when it is saved", lambda: save(model, path))
        loaded = attempt(who, "when it is loaded", lambda: load(path))
    if asdict(loaded.config) != asdict(model.config):
        raise BrokenPromise(f"{who} is loaded as {loaded.config!r}, was saved as {model.config!r}")
    promise = "the output does not survive save and load: {} before, {} after"
    _compare(who, outputs, _call(who, loaded, x), promise)


def _compare(who: str, one: Outputs, other: Outputs, promise: str, tolerance: float = 0) -> None:
    for name, values in one.items():

        def place(where: tuple[int, ...], name: str = name) -> str:
            return f" (.{name}{list(where)})"

        compare(f"{who}:", values, other[name], promise, tolerance, place)
