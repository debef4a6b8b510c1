"""A small model, and commands that sample with it by the workers of a cluster."""

import json
import os
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

import edifice_tt as et
from edifice_tt.testing import tiny_model

PROBLEMS, CANDIDATES = 30, 8
os.environ["DEV"] = "CPU"


class Folder:
    """A folder with a model and problems, in which commands run, each in a process."""

    def __init__(self, path):
        self.path, self.pool = path, path / "pool.jsonl"
        et.save(tiny_model(), path / "tiny.safetensors")
        asked = [{"prompt": f"ask {i}", "problem": f"p{i}"} for i in range(PROBLEMS)]
        (path / "problems").write_text("".join(json.dumps(one) + "\n" for one in asked))

    def start(self, *words):
        command = [sys.executable, "-m", "edifice_tt", *map(str, words)]
        return subprocess.Popen(command, cwd=self.path, stderr=subprocess.PIPE, text=True)

    def generate(self, output, *more):
        given = ["--problems", "problems", "-n", CANDIDATES, "--raw", "--max-tokens", 150]
        return self.start("generate", "-m", "tiny.safetensors", *given, "-o", output, *more)

    def finish(self, driver, status=0):
        told = driver.communicate(timeout=200)[1]
        assert driver.returncode == status, told
        return told

    def wait_for_lines(self, driver, more):
        """Until so many more candidates are in the file, while the driver is at it."""
        before = self.lines()
        while self.lines() < before + more:
            assert driver.poll() is None, driver.stderr.read()
            time.sleep(0.01)

    def lines(self):
        return self.pool.read_bytes().count(b"\n") if self.pool.exists() else 0

    def contents(self, name):
        """What is in a file but for order and seconds."""
        return {
            pool.problem: replace(
                pool, candidates=tuple(replace(one, seconds=None) for one in pool), search=None
            )
            for pool in et.read_pools(self.path / name)
        }


@pytest.fixture
def folder(tmp_path, alone):
    made = Folder(tmp_path)
    (tmp_path / "alone.jsonl").write_bytes(alone)
    return made


@pytest.fixture(scope="session")
def alone(tmp_path_factory):
    """The file of one process."""
    folder = Folder(tmp_path_factory.mktemp("alone"))
    folder.finish(folder.generate("alone.jsonl"))
    return (folder.path / "alone.jsonl").read_bytes()


def descendants(pid):
    """The processes that a process has begun, and theirs."""
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(OSError):
            for child in path.read_text().split():
                yield int(child)
                yield from descendants(int(child))
