"""How fast `test_time_compute` scores at its defaults, beside the same model in PyTorch.

60 tokens at the width of the model, batches of 1, 16 and 64. Outputs are compared before anything
is timed.
"""

import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import machine
import numpy as np
from formats import PEER_DEVICE
from peer import start_peers
from timing import OURS, Report, arguments, take_turns
from tinygrad import Device, Tensor
from tinygrad.nn.state import get_state_dict

import edifice_tt as et
from edifice_tt.machine.toolchain import open_device

TOKENS = 60
TOLERANCE = 1e-4


def main() -> None:
    options = arguments(
        __doc__ or "",
        batches={"type": int, "nargs": "+", "default": [1, 16, 64], "help": "texts at a time"},
        peer_device=PEER_DEVICE,
    )
    width = et.output_size("test_time_compute")
    model = et.build("test_time_compute", embed_dim=width, seed=0)
    fast = et.jit(model)
    report = Report(
        f"test_time_compute at defaults, {TOKENS} tokens",
        machine.versions(),
        machine.limits_of(open_device(), options),
        options,
    )
    peers = [] if options.peer_device == "none" else ["torch_score"]
    torch = start_peers(options.peers, peers).get("torch_score")
    with tempfile.TemporaryDirectory() as folder:
        weights, example = str(Path(folder, "weights.npz")), str(Path(folder, "example.npz"))
        if torch:
            report.versions |= torch.versions
            np.savez(weights, **{k: v.numpy() for k, v in get_state_dict(model).items()})
            config = model.config.backbone
            torch(
                "load",
                weights=weights,
                num_layers=config.num_layers,
                head_dim=config.head_dim,
                threads=options.threads,
                device=options.peer_device,
            )
        for batch in options.batches[:2] if options.quick else options.batches:
            x = np.random.default_rng(batch).standard_normal((batch, TOKENS, width), np.float32)
            calls = max(1, 32 // batch)
            subjects = {OURS: partial(ours, fast, x, calls)}
            if torch:
                for shift in (2, 1, 0):  # the third call is a replay, which is what is timed
                    out = fast(Tensor(x + shift))
                np.savez(example, x=x, hidden=out.backbone.numpy(), scores=out.scores.numpy())
                for how in ("eager", "compiled"):
                    off = torch("check", example=example, how=how)
                    if not off < TOLERANCE:
                        raise SystemExit(f"torch {how} differs by {off}, expected < {TOLERANCE}")
                    size = {"batch": batch, "tokens": TOKENS, "width": width, "calls": calls}
                    subjects[f"torch {how}"] = partial(torch, "run", how=how, **size)
            times = take_turns(subjects, options.repeats, warm_up=3)
            flop = 2 * model.config.backbone.num_weights * batch * TOKENS
            report.add(
                f"batch {batch}", times, more={OURS: {"TFLOPS": flop / 1e12 / min(times[OURS])}}
            )
    report.show()


def ours(fast: Any, x: np.ndarray, calls: int) -> float:
    """Seconds of one call, the mean of some in a row; a fresh array is given, scores are read."""
    start = time.perf_counter()
    for _ in range(calls):
        fast(x).scores.numpy()
        Device[Device.DEFAULT].synchronize()
    return (time.perf_counter() - start) / calls


if __name__ == "__main__":
    main()
