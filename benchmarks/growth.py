"""How time and memory grow with candidates, prompt and answer.

Each case is a process of its own that reads the model, generates twice (the first compiles) and
reports the second's seconds and its peak resident memory, beside what the keys and values need:
weights + 2 L K E bytes (P + N G), for L layers, K key/value heads of size E, a prompt of P tokens
and N answers of G.
"""

import json
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import machine
from timing import Report, arguments, peak_bytes

MIB = 2**20
BASE = (8, 128, 32)  # N, P, G
CASES = ((1, 128, 32), (16, 128, 32), (64, 128, 32), (8, 512, 32), (8, 1024, 32), (8, 128, 128))


def main() -> None:
    # The case that a child process runs; no option of people's.
    if sys.argv[1:2] == ["--case"]:
        print(json.dumps(run_case(*map(int, sys.argv[2:5]))))
        return
    options = arguments(__doc__ or "")
    report = Report(
        "generate, SmolLM2-135M: N candidates, P prompt tokens, G new tokens each",
        machine.versions(),
        machine.limits(options.peers),
        options,
        note="peaks in MiB: before the model, reading it, generating. used: the last less the "
        "first; needed: the model's file, and keys and values in float32",
    )
    cases = (BASE, (16, 128, 16), (8, 256, 16)) if options.quick else (BASE, *CASES)
    for case in cases:
        report.rows.append(child(*case))
        print(f"N, P, G = {case} measured", file=sys.stderr)
    for row in report.rows:
        row["ratio"] = row["needed_mib"] / (row["peak_mib"] - row["before_mib"])
    report.show(
        {
            "N": "n",
            "P": "p",
            "G": "g",
            "s": "seconds",
            "tokens/s": "rate",
            "before, MiB": "before_mib",
            "loaded": "loaded_mib",
            "peak": "peak_mib",
            "needed": "needed_mib",
            "needed / used": "ratio",
        }
    )


def child(n: int, p: int, g: int) -> dict[str, Any]:
    # This process stays small: on Linux a child starts with its parent's peak as its own.
    command = (sys.executable, __file__, "--case", str(n), str(p), str(g))
    found = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return dict(json.loads(found.stdout.splitlines()[-1]))


def run_case(n: int, p: int, g: int) -> dict[str, Any]:
    from language_model import load_endless, model_file, prompts
    from tinygrad import Tensor

    import edifice_tt as et

    (Tensor.ones(4) + 1).numpy()  # the device and its compiler are open
    _ = et.generate, et.load_pretrained  # imported
    before = peak_bytes()
    lm = load_endless()
    loaded = peak_bytes()
    with suppress(OSError):  # where Linux lets us, the peak starts again from what is resident
        Path("/proc/self/clear_refs").write_text("5")
    texts = prompts(lm, p)
    for _ in range(2):
        start = time.perf_counter()
        et.generate(lm, next(texts), n=n, max_tokens=g)
        seconds = time.perf_counter() - start
    c = lm.config.backbone
    a_token = 2 * c.num_layers * c.num_kv_heads * c.head_dim * 4
    needed = Path(model_file()).stat().st_size + a_token * (p + n * g)
    return {
        "n": n,
        "p": p,
        "g": g,
        "seconds": seconds,
        "rate": n * g / seconds,
        "before_mib": before / MIB,
        "loaded_mib": loaded / MIB,
        "peak_mib": peak_bytes() / MIB,
        "needed_mib": needed / MIB,
    }


if __name__ == "__main__":
    main()
