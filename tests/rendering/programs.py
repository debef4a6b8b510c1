"""Starts this folder's programs, each in a process of its own, and finds what they need."""

import json
import os
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from tempfile import TemporaryFile

import pytest

HERE = Path(__file__).parent
HALVES = ("float16", "bfloat16")
DTYPES = {
    "METAL": ("float32", *HALVES),
    "CUDA": ("float32", *HALVES),
    "WEBGPU": ("float32", "float16"),  # WGSL has no other
}


def locate(package: str, file: str) -> str:
    """A file of the extra `devices`; skips where that is not installed."""
    try:
        return str(distribution(package).locate_file(file))
    except PackageNotFoundError:
        pytest.skip(
            "kernels for devices that are not here are rendered and compiled where the extra "
            f"'devices' is installed, and {package} is not: pip install 'edifice-tt[devices]'"
        )


def start(name, device, *words, **environment):
    """Start a program on a device: the process, and the file that it writes its answers to."""
    # SPEC=0: whether tinygrad's own graphs are well formed is for its tests.
    given = {"DEV": device, "SPEC": "0", "NULL_ALLOW_COPYOUT": "1", **environment}
    path = os.pathsep.join([str(HERE.parent.parent), *sys.path])
    answers = TemporaryFile("w+", encoding="utf-8")  # a pipe would hold the program up  # noqa: SIM115
    process = subprocess.Popen(
        [sys.executable, HERE / name, *words],
        env=os.environ | {"PYTHONPATH": path} | given,
        stdin=subprocess.PIPE,
        stdout=answers,
        stderr=subprocess.PIPE,
        text=True,
    )
    return process, answers


def finish(running, given=()):
    """What a program answers to what it is given, both JSON, an item a line."""
    process, answers = running
    _, errors = process.communicate("".join(json.dumps(item) + "\n" for item in given))
    with answers:
        assert process.returncode == 0, errors[-3000:]
        answers.seek(0)
        return [json.loads(line) for line in answers]
