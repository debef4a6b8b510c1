"""Two commands on one pool file at once, either of them killed at some moment.

Each runs in a process of its own, forked from this one so that it starts in milliseconds. As a
program it is what test_pool_commands runs, and it prints a line of JSON a trial:

python pool_commands.py FOLDER TRIALS
"""

import json
import os
import random
import shutil
import signal
import sys
import time
import traceback
from pathlib import Path

import formula_model

import edifice_tt as et
from edifice_tt import cli

PROBLEMS, CANDIDATES = 11, 5
SAMPLED = ["--model", "formula", "-n", str(CANDIDATES), "--max-tokens", "12", "--raw"]
COMMANDS = {
    "generate": ["generate", "--problems", "problems", *SAMPLED, "--resume", "-o", "pool"],
    "generate --force": ["generate", "--problems", "problems", *SAMPLED, "--force", "-o", "pool"],
    "grade": ["grade", "pool", "--answer", "number"],
    "score": ["score", "pool"],
    "merge": ["merge", "pool", "part", "-o", "pool", "--force"],
    "select": ["select", "pool", "--rule", "majority"],
}
LONG = ("generate", "generate --force", "score")  # while they write, others come
ENDS = (None, None, None, None, signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGKILL)


def start(name, folder, delay=0.0):
    if (child := os.fork()) == 0:
        status = 99
        try:
            for stream, suffix in ((1, "out"), (2, "err")):
                file = folder / f"{name}.{suffix}"
                os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), stream)
            signal.signal(signal.SIGINT, signal.default_int_handler)
            time.sleep(delay)
            os.chdir(folder)
            status = cli.main(COMMANDS[name])
        except KeyboardInterrupt:  # before it had begun
            status = 130
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    return child


def finish(child):
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def trial(rng, base, folder):
    """Draw two commands and how they end; what they said, and the names that they left."""
    shutil.copytree(base, folder)
    names = [rng.choice(LONG), rng.choice(sorted(COMMANDS))]
    while names[0] == names[1]:
        names[1] = rng.choice(sorted(COMMANDS))
    whole = "generate" not in " ".join(names)
    shutil.copy(base / ("whole" if whole else "part"), folder / "pool")
    for name in names:
        (folder / f"{name}.err").touch()
    # The second comes when the first has not begun, is at it, or is done.
    children = [start(names[0], folder), start(names[1], folder, rng.uniform(0, 0.1))]
    ends = [rng.choice(ENDS) for _ in names]
    time.sleep(rng.uniform(0, 0.1))
    for child, end in zip(children, ends, strict=True):
        if end is not None:
            os.kill(child, end)
    statuses = [finish(child) for child in children]
    said = [(folder / f"{name}.err").read_text() for name in names]
    after = finish(start("select", folder))
    return {
        "folder": str(folder),
        "commands": dict(zip(names, statuses, strict=True)),
        "ends": [None if end is None else end.name for end in ends],
        "said": said,
        "files": sorted(path.name for path in folder.iterdir() if path.name.startswith(".")),
        "select": [after, (folder / "select.err").read_text()],
    }


def main(folder, trials):
    formula_model.use_formulas()
    formula_model.SLOW_S = 0.0015
    et.load_pretrained = lambda *_, **__: formula_model.FormulaModel()
    base = folder / "base"
    base.mkdir()
    problems = [{"prompt": f"{i} + {i}?", "gold": str(2 * i)} for i in range(PROBLEMS)]
    (base / "problems").write_text("".join(json.dumps(one) + "\n" for one in problems))
    finish(start("generate", base))
    lines = (base / "pool").read_bytes().splitlines(keepends=True)
    (base / "pool").rename(base / "whole")
    (base / "part").write_bytes(b"".join(lines[: len(lines) // 2]))
    rng = random.Random(3)
    for number in range(trials):
        print(json.dumps(trial(rng, base, folder / str(number))), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
