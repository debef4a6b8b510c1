"""Peers in processes of their own, so that they may live in another interpreter."""

import json
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

_WORKER = Path(__file__).with_name("worker.py")


# Where the name that is imported is not the name that is installed.
_PACKAGES = {
    "llama_cpp": "llama-cpp-python",
    "openvino_genai": "openvino-genai",
    "optimum": "optimum-intel",
}


class PeerMissing(Exception):
    """A peer that is not installed; the message says how to install it."""


class Peer:
    """A module of `peers/` in another interpreter; times are taken there."""

    def __init__(self, python: str, module: str, **environment: str) -> None:
        inherited = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
        try:
            self._process = subprocess.Popen(
                [python, str(_WORKER), module],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                env=inherited | {"TQDM_DISABLE": "1"} | environment,
            )
        except OSError as error:
            raise SystemExit(f"--peers {python}: {error.strerror}") from error
        self._module = module
        self.versions: dict[str, str] = self._answer()["result"]

    def __call__(self, function: str, **arguments: Any) -> Any:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"call": function, "with": arguments}) + "\n")
        self._process.stdin.flush()
        return self._answer()["result"]

    def close(self) -> None:
        """End the process: its memory and its threads are gone."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        if not (line := self._process.stdout.readline()):
            raise RuntimeError(f"{self._process.args} ended with {self._process.wait()}")
        answer: dict[str, Any] = json.loads(line)
        if missing := answer.get("missing"):
            install = f"pip install {_PACKAGES.get(missing, missing)}"
            raise PeerMissing(
                f"{self._module} is left out; run: {install}, as in benchmarks/README.md"
            )
        if "error" in answer:
            raise RuntimeError(answer["error"])
        return answer


def start_peers(
    pythons: Iterable[str], modules: Iterable[str], **environment: str
) -> dict[str, Peer]:
    """The peers that are there, by module; each of the others costs a sentence.

    Of several interpreters each is of the first that has it.
    """
    peers = {}
    for module in modules:
        absent = []
        for python in pythons:
            try:
                peers[module] = Peer(python, module, **environment)
                break
            except PeerMissing as missing:
                absent.append(str(missing))
        else:
            print(absent[0], file=sys.stderr)
    return peers
