"""Commands by several workers: the same files, what failed, and mistakes in one line."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from commands import runner
from fake_plugins import open_site

import edifice_tt as et
from edifice_tt.workers import sampling

site = pytest.fixture(open_site, name="site")

SAMPLED = ["--raw", "--max-tokens", 9, "--temperature", 3, "--seed", 5]
UNTOLD = ("seconds", "judge_seconds", "computed", "again", "padding")  # how it was done
PLUGIN = """
import edifice_tt, trials

@edifice_tt.hookimpl
def register_executors(register):
    register("here", trials.Here)
"""


def contents(path):
    """What is in a file but for order and seconds."""
    return {
        pool.problem: replace(
            pool,
            candidates=tuple(replace(one, seconds=None) for one in pool),
            search={k: v for k, v in (pool.search or {}).items() if k not in UNTOLD},
        )
        for pool in et.read_pools(path)
    }


def write_problems(path, count):
    asked = [{"prompt": "ask " * i + "k", "problem": f"p{i}", "gold": "k"} for i in range(count)]
    path.write_text("".join(json.dumps(one) + "\n" for one in asked))


@pytest.fixture
def run(capsys, monkeypatch, tiny_lm, site, tmp_path):
    """Commands in a folder with five problems, and an executor whose worker is this process."""
    monkeypatch.setattr(et, "load_pretrained", lambda *_, **__: tiny_lm, raising=False)
    site.install("here", PLUGIN)
    monkeypatch.setenv("EDIFICE_TT_PLUGINS", "here")
    monkeypatch.chdir(tmp_path)
    write_problems(tmp_path / "problems", 5)
    return runner(capsys)


@pytest.fixture
def generate(run):
    return partial(run, "generate", "--problems", "problems", "-m", "tiny", "-n", 3, *SAMPLED, "-o")


def test_workers_fill_and_score_the_same_file(run, generate):
    assert generate("alone")[0] == 0
    status, out, err = generate("shared", "--executor", "here")
    assert (status, err) == (0, "")
    assert out.startswith("15 candidates of 5 problems in shared; this run made 15, of ")
    for scorer in (["linear", "-m", "tiny"], ["logprob"]):
        assert run("score", "alone", "--scorer", *scorer)[0] == 0
        status, out, err = run("score", "shared", "--scorer", *scorer, "--executor", "here")
        assert (status, err) == (0, "")
        assert out == f"15 candidates of 5 problems in shared have a score by {scorer[0]}\n"
    assert contents("shared") == contents("alone")


@pytest.mark.parametrize("method", [["rejection", "--scorer", "logprob"], ["adaptive"]])
@pytest.mark.first(1)
def test_workers_search_the_same_rows(run, method):
    given = ["--problems", "problems", "-m", "tiny", "-n", 4, "--answer", "text", *SAMPLED]
    alone = run("search", *method, *given, "-o", "alone")
    shared = run("search", *method, *given, "-o", "shared", "--executor", "here")
    assert (alone[0], shared[0], shared[2]) == (0, 0, "")
    assert alone[1].replace("alone", "shared") == shared[1]
    assert contents("shared") == contents("alone")


def test_stopping_early_is_shared_too(generate):
    early = ["--stop-when", "adaptive:0.9", "--answer", "text"]
    assert generate("alone", *early)[0] == 0
    assert generate("shared", *early, "--executor", "here")[0] == 0
    assert contents("shared") == contents("alone")


def fails(problem, function):
    def sometimes(lm, one, *rest):
        if one.problem == problem:
            raise OSError(28, "No space left on device")
        return function(lm, one, *rest)

    return sometimes


def test_problems_that_failed_are_listed_and_resumed(generate, monkeypatch):
    assert generate("alone")[0] == 0
    whole = sampling.sample
    monkeypatch.setattr(sampling, "sample", fails("p3", whole))
    status, out, err = generate("shared", "--executor", "here")
    assert status == 3
    assert out.startswith("12 candidates of 5 problems in shared; this run made 12")
    first, second = err.splitlines()
    assert first == "edifice-tt: 1 of 5 problems lack candidates; --resume goes on with them:"
    assert second.startswith(
        "edifice-tt:   p3: OSError: [Errno 28] No space left on device (worker"
    )
    monkeypatch.setattr(sampling, "sample", whole)
    assert generate("shared", "--executor", "here", "--resume")[0] == 0
    assert contents("shared") == contents("alone")


def test_scores_that_failed_are_listed_and_those_of_another_scorer_stay(run, generate, monkeypatch):
    def but_one(lm, pool, scorer, reduce):
        if pool.problem == "p3":
            raise OSError(28, "No space left on device")
        return scored(lm, pool, scorer=scorer, reduce=reduce)

    generate("alone")
    scored, share = et.score, ["--executor", "here"]
    monkeypatch.setattr(et, "score", but_one, raising=False)
    status, _, err = run("score", "alone", *share)
    assert status == 3
    assert err.splitlines()[0] == (
        "edifice-tt: 1 of 5 problems have no score; --resume goes on with them:"
    )
    before = Path("alone").read_bytes()
    assert run("score", "alone", *share, "--resume")[0] == 3
    assert Path("alone").read_bytes() == before
    monkeypatch.setattr(et, "score", scored, raising=False)
    assert run("score", "alone", *share, "--resume")[0] == 0
    assert all(pool.scorers == ["logprob"] for pool in et.read_pools("alone"))
    monkeypatch.setattr(et, "score", but_one, raising=False)
    before = Path("alone").read_bytes()
    status, _, err = run("score", "alone", *share)
    assert status == 2
    assert "problem 'p3': OSError" in err
    assert "that were there before stay as they were" in err
    assert Path("alone").read_bytes() == before


def test_a_worker_with_another_scorer_is_refused(run, generate, monkeypatch):
    from edifice_tt.cli import work

    generate("alone")
    owners = iter(["driver 1", "worker 2"])
    monkeypatch.setattr(work, "_versioned", lambda _: next(owners))
    status, _, err = run("score", "alone", "--executor", "here")
    assert status == 2
    assert "the scorer is of worker 2 here, and the driver's of driver 1" in err


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["--cores-per-worker", 2], "--cores-per-worker 2 is for several workers; say how many"),
        (["--address", "x"], "--address x is for several workers"),
        (["--workers", 0], "expected a whole number from 1"),
        (["--workers", 2, "--devices", "CPU,CPU:1"], "--devices is for one process"),
        (["--workers", 2, "--address", "x"], "--address x is nothing that 'processes' takes"),
        (["--executor", "proceses"], "unknown executor 'proceses'; did you mean 'processes'?"),
        (["--executor", "processes"], "say how many processes are to work"),
        (["--workers", 1, "--cores-per-worker", 10**6], "need 1000000 cores"),
    ],
)
def test_a_mistake_is_one_line_and_makes_no_file(generate, given, message):
    status, out, err = generate("pool", *given)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert message in err
    assert not Path("pool").exists()


def test_one_prompt_has_no_workers(run):
    assert "name it with -o POOL" in run("generate", "hi", "--workers", 2)[2]


# --- with processes, each killed in the middle


CHILDREN = "/proc/{0}/task/{0}/children"


def workers_of(driver):
    return [int(one) for one in Path(CHILDREN.format(driver.pid)).read_text().split()]


def lines_in(path):
    return path.read_bytes().count(b"\n") if path.exists() else 0


def wait_for(is_so):
    end = time.monotonic() + 60
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.01)


def ended(pid):
    try:
        return "\nState:\tZ" in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return True


@pytest.mark.slow
@pytest.mark.skipif(
    not Path(CHILDREN.format(os.getpid())).exists(), reason="no list of children here"
)
def test_whoever_is_killed_the_file_becomes_that_of_one_process(tmp_path, tiny_lm):
    """First a worker is killed, then the driver by SIGKILL and by SIGTERM, and resumed."""
    et.save(tiny_lm, tmp_path / "tiny.safetensors")
    write_problems(tmp_path / "problems", 30)
    command = [sys.executable, "-m", "edifice_tt", "generate", "-m", "tiny.safetensors"]
    command += ["--problems", "problems", "-n", "8", "--raw", "--max-tokens", "60", "-o"]
    environment = {**os.environ, "DEV": "CPU"}
    subprocess.run([*command, "alone"], cwd=tmp_path, env=environment, check=True)
    path, share = tmp_path / "shared", ["shared", "--workers", "2", "--resume"]
    for end in (signal.SIGKILL, signal.SIGTERM, None):
        before = lines_in(path)
        driver = subprocess.Popen(
            [*command, *share], cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True
        )
        wait_for(lambda: lines_in(path) > before + 20)  # noqa: B023, called here
        workers = workers_of(driver)
        assert len(workers) >= 2
        os.kill(workers[0], signal.SIGKILL)
        now = lines_in(path)
        if end is not None:
            wait_for(lambda: lines_in(path) > now + 9)  # noqa: B023
            workers += workers_of(driver)
            driver.send_signal(end)
        told = driver.communicate()[1]
        expected = {None: 0, signal.SIGKILL: -9, signal.SIGTERM: 143}
        assert driver.returncode == expected[end], told
        wait_for(lambda: all(map(ended, workers)))  # noqa: B023
    assert contents(path) == contents(tmp_path / "alone")
    lines = path.read_text().splitlines()
    assert len(lines) == 1 + 30 + 30 * 8
