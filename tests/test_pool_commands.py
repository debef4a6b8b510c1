"""Any two commands on one pool file at once, each ended at any moment: nothing told is lost."""

import json
import os
import re
import subprocess
import sys
import warnings
from collections import Counter
from pathlib import Path

import pool_commands
import pytest

import edifice_tt as et
from edifice_tt.contract.errors import PoolWarning
from edifice_tt.pools.pool import PoolFile

pytestmark = pytest.mark.skipif(os.name != "posix", reason="forks, and ends processes by signals")

TRIALS = 16
ALL = pool_commands.PROBLEMS * pool_commands.CANDIDATES


def read(path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PoolWarning)  # a last line that SIGKILL cut off
        file = PoolFile(path)
        return {(pool.problem, c.index): c for pool in file for c in pool}, file


def check(found, before):
    """One trial: what each command said with its exit status is so in the file."""
    after, file = read(Path(found["folder"], "pool"))
    status, force = found["commands"], "generate --force" in found["commands"]
    replaced = force and len(file.problems) and not before.keys() <= after.keys()
    for (name, code), end, said in zip(status.items(), found["ends"], found["said"], strict=True):
        ended = {"SIGHUP": (-1, 129), "SIGINT": (130,), "SIGKILL": (-9,), "SIGTERM": (-15, 143)}
        assert code in (0, 2, *ended.get(end, ())), found
        assert "Traceback" not in said, said
        if code == 2:
            assert re.search("another process is writing|was changed while|no candidates", said)
        if name.startswith("generate") and code == 0 and Counter(status)["generate --force"] < 2:
            assert len(after) == ALL or (force and name == "generate"), found
        kept = re.search(r"interrupted; (\d+) of", said)
        if kept and not (force and name == "generate"):
            assert len(after) >= int(kept[1]), found
        if code == 0 and not replaced:
            if name == "grade":
                assert all(after[key].correct is not None for key in before), found
            if name == "score":
                assert all("logprob" in after[key].scores for key in before), found
    if not force:
        assert before.keys() <= after.keys(), found
    assert not found["files"] or "SIGKILL" in found["ends"], found
    check_told(found["select"], after)


def check_told(select, after):
    """What is half done says so to a reader."""
    status, told = select
    scored = sum("logprob" in c.scores for c in after.values())
    if not after:
        assert (status, "no candidates" in told) == (2, True)
        return
    assert ("have a score by 'logprob'" in told) == (0 < scored < len(after))


@pytest.mark.slow
def test_two_commands_at_once_lose_nothing_whenever_they_end(tmp_path):
    """Drawn pairs of commands, and how and when each of them ends."""
    root = str(Path(et.__file__).parents[1])
    done = subprocess.run(
        [sys.executable, pool_commands.__file__, tmp_path, str(TRIALS)],
        env={**os.environ, "PYTHONPATH": root, "EDIFICE_TT_PLUGINS": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    part, _ = read(tmp_path / "base" / "part")
    whole, _ = read(tmp_path / "base" / "whole")
    assert 0 < len(part) < len(whole) == ALL
    trials = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(trials) == TRIALS
    for found in trials:
        sampled = any(name.startswith("generate") for name in found["commands"])
        check(found, part if sampled else whole)
