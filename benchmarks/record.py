"""One JSON of a run of several scripts, written anew with each thing that is measured.

`record.py FILE PART COMMAND ...` runs a command as a part of it. What the part measured before it
failed, was interrupted or ran out of time stays. The end status is the command's; 130 means Ctrl-C.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from threading import Event, Thread
from typing import Any

GRACE = 15  # seconds that a part has to end by itself
INTERRUPTED = 130  # what a shell says of a program that Ctrl-C ended


def read(path: Path) -> dict[str, Any]:
    """What the file holds so far."""
    held: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    return held


def keep(path: Path, part: str, what: Mapping[str, Any]) -> None:
    """Put this into a part; the file is the old one or the new one, and never half of it."""
    held = read(path)
    held[part] = held.get(part, {}) | what
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    beside.write_text(json.dumps(held, indent=1) + "\n")
    beside.replace(path)


def run(path: Path, part: str, command: list[str], until: float) -> int:
    """Run a command as a part, at most until a moment; its last line may be JSON."""
    begun = time.time()
    if until - begun < 1:
        keep(path, part, {"status": "left out: no time was left"})
        return 0
    keep(path, part, {"command": " ".join(command), "status": "running"})
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    lines: dict[str, list[str]] = {"stdout": [], "stderr": []}
    told = Event()  # to end: where in it that was is nobody's affair
    readers = [
        Thread(target=_pass_on, args=(process, name, lines[name], told), daemon=True)
        for name in lines
    ]
    for reader in readers:
        reader.start()
    try:
        process.wait(None if until == float("inf") else until - begun)
        status = f"failed with {process.returncode}" if process.returncode else "done"
    except subprocess.TimeoutExpired:
        told.set()
        process.send_signal(signal.SIGINT)
        status = "cut off: out of time"
    except KeyboardInterrupt:  # which the command was sent, too
        told.set()
        status = "interrupted"
    _end(process)
    for reader in readers:
        reader.join(1)
    what: dict[str, Any] = {"status": status, "seconds": round(time.time() - begun, 1)}
    with suppress(ValueError, IndexError):
        if isinstance(result := json.loads(lines["stdout"][-1]), dict):
            what["result"] = result
    if status.startswith("failed"):
        what["said"] = [line.rstrip() for line in lines["stderr"][-20:]]
    keep(path, part, what)
    print(f"{part}: {status} after {what['seconds']} s", file=sys.stderr)
    if status == "interrupted":
        return INTERRUPTED
    return process.returncode if status.startswith("failed") else 0


def _pass_on(process: "subprocess.Popen[str]", name: str, lines: list[str], told: Event) -> None:
    with getattr(process, name) as source:
        for line in source:
            lines.append(line)
            if not told.is_set():
                print(line, end="", file=getattr(sys, name), flush=True)


def _end(process: "subprocess.Popen[str]") -> None:
    """Wait for a command that was told to end, and end it at last."""
    with suppress(KeyboardInterrupt, subprocess.TimeoutExpired):
        process.wait(GRACE)
    if process.poll() is None:
        process.kill()
        process.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--until", type=float, default=float("inf"), help="seconds since 1970")
    parser.add_argument("file", type=Path)
    parser.add_argument("part")
    parser.add_argument("command", nargs=argparse.REMAINDER)
    given = parser.parse_args()
    sys.exit(run(given.file, given.part, given.command, given.until))


if __name__ == "__main__":
    main()
