"""The process that renders chat templates, seen from outside: begun, asked, ended.

Knows no token and no message.
"""

import atexit
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from threading import Lock
from typing import Any, NamedTuple

from edifice_tt.contract.errors import ToolchainError
from edifice_tt.machine.toolchain import require

SECONDS, MEMORY = 5.0, 2**29  # processor time of a prompt; bytes of the process
_JINJA = (3, 1, 6)


class Rendered(NamedTuple):
    """A prompt's text, and whether the template tells the day in it."""

    text: str
    dated: bool


class Process:
    """The process that renders, begun with the first prompt and again when one ended it."""

    def __init__(self) -> None:
        self.lock = Lock()
        self.child: Any = None

    def render(self, template: str, values: Mapping[str, Any], day: str) -> Rendered:
        """What the process answers. Raises `ValueError` for a template that fails."""
        try:
            request = json.dumps({"template": template, "values": values, "day": day})
        except (TypeError, ValueError, RecursionError) as error:
            raise ValueError(f"messages must hold JSON values only ({error})") from error
        with self.lock:
            reply = self._answer(request)
        if "error" in reply:
            raise ValueError(f"the model's chat template failed: {reply['error']}")
        return Rendered(reply["text"], reply["dated"])

    def _answer(self, request: str) -> dict[str, Any]:
        if self.child is None or self.child.poll() is not None:
            self.end()
            self._begin()
        try:
            self.child.stdin.write(f"{request}\n")
            self.child.stdin.flush()
            if line := self.child.stdout.readline():
                return dict(json.loads(line))
        except BrokenPipeError:
            pass
        except BaseException:  # Ctrl-C: an answer that nobody awaits would be the next one's
            self.end()
            raise
        status = self.child.wait()
        self.end()
        if status == -signal.SIGPROF:
            return {"error": f"it takes more than {SECONDS:g} seconds of processor time"}
        return {"error": f"the process that renders it ended with status {status}"}

    def _begin(self) -> None:
        _check_jinja()
        program = str(Path(__file__).with_name("template_process.py"))
        # -P: the neighbours of the program are no libraries. Ctrl-C is this process's alone.
        self.child = subprocess.Popen(
            [sys.executable, "-P", "-W", "ignore", program, str(SECONDS), str(MEMORY)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            encoding="utf-8",
            start_new_session=True,
        )

    def end(self) -> None:
        """End the process, if there is one."""
        if self.child is None:
            return
        self.child.kill()
        with suppress(BrokenPipeError):
            self.child.stdin.close()
        self.child.stdout.close()
        self.child.wait()
        self.child = None

    def leave(self) -> None:
        """Forget the process, which is the parent's, after a fork."""
        self.lock = Lock()
        if self.child is not None:
            self.child.returncode = 0  # not waited for here
            self.child.stdin.close()
            self.child.stdout.close()
            self.child = None


def _check_jinja() -> None:
    """Raise `ToolchainError` without jinja2, and for one whose sandbox has a hole."""
    try:
        installed = version("jinja2")
    except PackageNotFoundError:
        require("jinja2", extra="lm")
        return
    numbers = tuple(int(part) for part in re.findall(r"\d+", installed)[:3])
    if numbers < _JINJA:
        needed = ".".join(map(str, _JINJA))
        raise ToolchainError(
            f"jinja2 {installed} is installed, whose sandbox has a hole; chat templates need "
            f"{needed}; run: {sys.executable} -m pip install 'edifice-tt[lm]'"
        )


process = Process()
atexit.register(process.end)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=process.leave)
