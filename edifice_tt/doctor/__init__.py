"""Checks whether this machine is ready, compares results with stored numbers, and says what to do.

`diagnose` runs the checks of `machine`, `numbers` and `speed`.
"""

import os
import warnings
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from edifice_tt.contract.errors import EdificeError, PluginWarning
from edifice_tt.doctor import machine, numbers, speed
from edifice_tt.doctor.check import Check
from edifice_tt.machine.toolchain import open_device


def diagnose(
    device: str | None = None,
    quick: bool = False,
    say: Callable[[str], None] = lambda line: None,
    model: str | None = None,
) -> list[Check]:
    """Check versions, compiler, devices, plugins, memory, numbers and, unless `quick`, speed.

    `say` is called with one line before each slow check. A `model` is checked for whether it fits.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PluginWarning)  # failed plugins are among the checks
        say("devices")
        checks = [*machine.check_versions(), machine.check_compiler(), machine.check_devices()]
        try:
            opened = open_device(device)
        except EdificeError as error:
            checks.append(Check("device", device or "none", False, str(error)))
            return checks + machine.check_plugins()
        checks.append(Check("device", f"{opened}, {_why(device)}", True))
        default = speed.find_model()
        checks += [machine.check_memory(opened), default, *machine.check_plugins()]
        if model is not None:
            checks.append(machine.check_fit(model, opened))
        checks += numbers.check_numbers(opened, say)
        if not quick and passed(checks):  # the speed of wrong results is of no interest
            checks.append(speed.check_speed(opened, say, bool(default.ok)))
        return checks


def to_dict(checks: list[Check]) -> dict[str, Any]:
    """A plain dict for JSON."""
    return {"ok": passed(checks), "checks": [asdict(check) for check in checks]}


def passed(checks: list[Check]) -> bool:
    """Whether no check failed."""
    return all(check.ok is not False for check in checks)


def _why(asked: str | None) -> str:
    if asked:
        return "as asked for"
    if wish := os.environ.get("DEV"):
        return f"by DEV={wish}"
    return "the first that opens in tinygrad's order"
