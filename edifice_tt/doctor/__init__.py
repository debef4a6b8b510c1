"""Checks whether this machine is ready, compares results with stored numbers, and says what to do.

`diagnose` runs the checks of `machine`, `tuning`, `numbers` and `speed`; `tune` measures.
"""

import os
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import Any

from edifice_tt.contract.errors import EdificeError, PluginWarning
from edifice_tt.doctor import machine, numbers, speed, tuning
from edifice_tt.doctor.check import Check
from edifice_tt.doctor.tuning import tune as tune
from edifice_tt.machine.toolchain import open_device
from edifice_tt.nn.cpu.tuning import INSTEAD


def diagnose(
    device: str | None = None,
    quick: bool = False,
    say: Callable[[str], None] = lambda line: None,
    model: str | None = None,
    kv_dtype: str | None = None,
) -> Iterator[Check]:
    """Check versions, compiler, devices, plugins, memory, numbers and, unless `quick`, speed.

    Each check is given as soon as it is made. `say` is called with one line before each slow check.
    A `model` is checked for whether it fits, with keys and values of `kv_dtype`.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PluginWarning)  # failed plugins are among the checks
        warnings.filterwarnings("ignore", f".*{INSTEAD}")  # as is a damaged file of sizes
        checks = []
        for check in _examine(device, say, model, kv_dtype):
            checks.append(check)
            yield check
        if not quick and passed(checks):  # the speed of wrong results is of no interest
            has_model = any(check.name == "model" and check.ok for check in checks)
            yield speed.check_speed(open_device(device), say, has_model)


def _examine(
    device: str | None, say: Callable[[str], None], model: str | None, kv_dtype: str | None
) -> Iterator[Check]:
    yield from machine.check_versions()
    yield machine.check_compiler()
    yield machine.check_processor()
    yield tuning.check_sizes()
    say("devices")
    yield machine.check_devices()
    try:
        opened = open_device(device)
    except EdificeError as error:
        yield Check("device", device or "none", False, str(error))
        yield from machine.check_plugins()
        return
    yield Check("device", f"{opened}, {_why(device)}", True)
    yield machine.check_memory(opened)
    yield speed.find_model()
    yield from machine.check_plugins()
    if model is not None:
        yield machine.check_fit(model, opened, kv_dtype)
    yield from numbers.check_numbers(opened, say)


def to_dict(checks: list[Check]) -> dict[str, Any]:
    return {"ok": passed(checks), "checks": [asdict(check) for check in checks]}


def passed(checks: list[Check]) -> bool:
    return all(check.ok is not False for check in checks)


def _why(asked: str | None) -> str:
    if asked:
        return "as asked for"
    if wish := os.environ.get("DEV"):
        return f"by DEV={wish}"
    return "the first that opens in tinygrad's order"
