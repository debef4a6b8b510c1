"""Is this machine ready? Runs a small model against stored numbers and says what it found."""

import platform
import time
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np

import edifice_tt
from edifice_tt.errors import EdificeError
from edifice_tt.registry import load_registry
from edifice_tt.toolchain import find_clang, how_to_get_clang, list_devices, open_device

# Scores of `self_check`'s model, from an independent evaluation in float64 NumPy.
EXPECTED = (1.332528326, 1.300767727, 1.406340048, 1.302207478, 1.351457121)
TOLERANCE = 2e-5


@dataclass(frozen=True)
class Check:
    """One thing that was looked at: `ok` is None where there is nothing to pass or fail."""

    name: str
    found: str
    ok: bool | None = None
    advice: str = ""


def diagnose(device: str | None = None) -> list[Check]:
    """Look at versions, compiler, devices, plugins, and check the model against stored numbers."""
    checks = [
        Check("edifice-tt", edifice_tt.__version__),
        Check("python", f"{platform.python_version()} on {platform.platform()}"),
        *(Check(name, _version(name)) for name in ("tinygrad", "numpy", "pluggy", "tokenizers")),
        _compiler(),
    ]
    checks += [_devices(), _self_check(device), *_plugins()]
    return checks


def to_dict(checks: list[Check]) -> dict[str, Any]:
    """A plain dict for JSON."""
    return {"ok": passed(checks), "checks": [asdict(check) for check in checks]}


def passed(checks: list[Check]) -> bool:
    """Whether no check failed."""
    return all(check.ok is not False for check in checks)


def _version(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return "not installed"


def _compiler() -> Check:
    if clang := find_clang():
        return Check("clang", clang)
    return Check("clang", "none", None, f"the CPU device needs it: {how_to_get_clang()}")


def _devices() -> Check:
    devices = list_devices()
    return Check("devices", ", ".join(devices) or "none", bool(devices))


def _self_check(device: str | None) -> Check:
    started = time.perf_counter()
    try:
        opened = open_device(device)
        scores = self_check(opened)
    except EdificeError as error:
        return Check("self-check", "not run", False, str(error))
    worst = float(np.abs(scores - np.array(EXPECTED)).max())
    seconds = time.perf_counter() - started
    found = f"{opened}: largest error {worst:.1e} of {TOLERANCE:.0e} allowed, {seconds:.1f} s"
    if worst <= TOLERANCE:
        return Check("self-check", found, True)
    return Check("self-check", found, False, "this device computes wrong numbers: try another DEV")


def self_check(device: str) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Scores (T,) of a small model whose weights and input are formulas, not random numbers."""
    from tinygrad import Tensor

    model = edifice_tt.build(
        "test_time_compute",
        embed_dim=6,
        hidden_size=16,
        num_layers=1,
        num_heads=4,
        num_kv_heads=2,
        scorer_hidden=8,
        device=device,
    )
    fill_with_waves(model, device)
    x = Tensor(wave((1, 5, 6), 99)[..., :6], device=device)
    scores: np.ndarray[Any, np.dtype[np.float64]] = model(x).scores.numpy()[0, :, 0].astype(float)
    return scores


def fill_with_waves(model: Any, device: str) -> None:
    """Give every weight of a model its formula, in the order of their names."""
    from tinygrad import Tensor
    from tinygrad.nn.state import get_state_dict

    for seed, (_, weight) in enumerate(sorted(get_state_dict(model).items())):
        weight.replace(Tensor(wave(weight.shape, seed), device=device).realize())


def wave(shape: tuple[int, ...], seed: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Numbers between -0.6 and 0.6 that look irregular and are the same everywhere."""
    steps = np.arange(np.prod(shape), dtype=np.float64)
    return (0.6 * np.sin(1.7 * steps + 0.9 * seed + 0.3)).reshape(shape).astype(np.float32)


def _plugins() -> list[Check]:
    failures = load_registry().failures
    if not failures:
        return [Check("plugins", "none failed")]
    return [Check(f"plugin {f.plugin}", f"left out: {f.reason}", False, f.owner) for f in failures]
