"""Commands by several workers, each in a process that a test may kill. Knows no executor."""

import json
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from edifice_tt.pools.pool import Pool, read_pools
from edifice_tt.testing.examples import tiny_model
from edifice_tt.weights.checkpoint import save

PROBLEMS, CANDIDATES = 30, 8
MODEL = "tiny.safetensors"


class SharedRun:
    """A folder with a small model and thirty problems, in which commands run on the CPU.

    `share` are the options of a command that say who works, such as `["--executor", "ray"]`.
    """

    def __init__(self, path: Path, share: list[str] | None = None) -> None:
        self.path, self.share = path, share or []
        save(tiny_model(), path / MODEL)
        asked = [{"prompt": f"ask {i}", "problem": f"p{i}"} for i in range(PROBLEMS)]
        (path / "problems").write_text("".join(json.dumps(one) + "\n" for one in asked))

    def start(self, *words: Any) -> "subprocess.Popen[str]":
        """Begin a command of edifice-tt with the model."""
        given = [*map(str, words), "-m", MODEL, "--device", "CPU", *self.share]
        command = [sys.executable, "-m", "edifice_tt", *given]
        return subprocess.Popen(command, cwd=self.path, stderr=subprocess.PIPE, text=True)

    def generate(self, output: str, *more: Any) -> "subprocess.Popen[str]":
        """Begin to sample eight candidates of each problem into a file."""
        how = ["--problems", "problems", "-n", CANDIDATES, "--raw", "--max-tokens", 150]
        return self.start("generate", *how, "-o", output, *more)

    def finish(self, driver: "subprocess.Popen[str]", status: int = 0) -> str:
        """Wait for its end with this status; returns what it has told."""
        told = driver.communicate(timeout=200)[1]
        assert driver.returncode == status, told
        return told

    def wait_for_lines(self, driver: "subprocess.Popen[str]", name: str, more: int) -> None:
        """Until so many more lines are in a file, while the driver is at it."""
        enough = self.num_lines(name) + more
        while self.num_lines(name) < enough:
            assert driver.poll() is None, driver.communicate()[1]
            time.sleep(0.01)

    def num_lines(self, name: str) -> int:
        """The number of lines in a file."""
        path = self.path / name
        return path.read_bytes().count(b"\n") if path.exists() else 0

    def contents(self, name: str) -> dict[str, Pool]:
        """What is in a pool file, but for order and seconds."""
        return {
            pool.problem: replace(
                pool, candidates=tuple(replace(one, seconds=None) for one in pool)
            )
            for pool in read_pools(self.path / name)
        }
