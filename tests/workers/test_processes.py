"""Workers that are processes: each item is worked on, whoever ends, and none stays behind."""

import os
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest
import trials
from trials import of

import edifice_tt as et
from edifice_tt.machine.toolchain import limit_cores
from edifice_tt.workers import worker
from edifice_tt.workers.driving import drive
from edifice_tt.workers.processes import Processes
from edifice_tt.workers.trial import begin_squares


def run(begin, items, workers=1, cores=None):
    """The results, why problems failed, and the lines that were told."""
    failed, told = {}, []
    with Processes(workers, cores) as executor:
        made = [*drive(executor, begin, items, failed, told.append)]
    return made, failed, told


def is_there(pid):
    """A process that has ended and that nobody waits for is there no more."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


def until(is_so):
    end = time.monotonic() + 20
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_every_item_is_worked_on_once_in_other_processes():
    made, failed, told = run(trials.begin_echo, of(*range(7)), workers=2)
    assert sorted((problem, value[0]) for problem, value in made) == [
        (f"p{i}", i) for i in range(7)
    ]
    assert os.getpid() not in {value[1] for _, value in made}
    assert (failed, told) == ({}, [])


def test_a_worker_uses_the_cores_that_were_said(monkeypatch):
    monkeypatch.setattr("edifice_tt.workers.processes.devices_beside", lambda _: ["CPU"] * 5)
    assert [Processes(workers, None).cores for workers in (1, 2, 3, 7)] == [5, 2, 1, 1]
    made, _, _ = run(trials.begin_echo, of(3), cores=1)
    assert made[0][1][2] == 1


def test_cores_are_limited_and_freed():
    from edifice_tt.machine.toolchain import devices_beside

    every = len(devices_beside("CPU"))
    limit_cores(1)
    try:
        assert devices_beside("CPU") == ["CPU"]
    finally:
        limit_cores(None)
    assert len(devices_beside("CPU")) == every


@pytest.mark.parametrize(
    ("workers", "cores", "message"),
    [
        (None, None, "say how many"),
        (0, None, "workers=0 must be a whole number"),
        (3, 2, "3 workers of 2 cores need 6 cores, and 5 are here; give fewer"),
    ],
)
def test_workers_that_cannot_be_had_are_refused(monkeypatch, workers, cores, message):
    monkeypatch.setattr("edifice_tt.workers.processes.devices_beside", lambda _: ["CPU"] * 5)
    with pytest.raises(ValueError, match=message):
        Processes(workers, cores)


@pytest.mark.slow
def test_an_item_whose_worker_is_killed_is_given_to_another(tmp_path):
    (tmp_path / "5").touch()
    made, failed, told = run(partial(trials.begin_deadly, str(tmp_path)), of(3, 5))
    assert made.count(("p0", (3, "begun"))) == 2
    assert made.count(("p0", (3, "ended"))) == 1
    assert made.count(("p1", (5, "ended"))) == 1
    assert (failed, told) == ({}, [])


def test_a_full_disk_under_one_item_costs_no_other():
    made, failed, _ = run(begin_squares, of(3, 4, 5))
    assert made == [("p0", 3), ("p0", 9), ("p1", 4), ("p2", 5), ("p2", 25)]
    assert list(failed) == ["p1"]
    assert failed["p1"].startswith("OSError: [Errno 28] No space left on device (worker on ")


def test_workers_that_cannot_begin_are_one_line():
    with pytest.raises(
        et.EdificeError, match=r"no worker is left; .*No space left on device: 'x'$"
    ):
        run(partial(trials.begin_full, "x"), of(3), workers=2)


@pytest.mark.slow
def test_workers_that_end_before_they_have_begun_are_not_replaced_for_ever():
    last = r"a worker ended with status 9 \(out of memory\) before it had begun$"
    with pytest.raises(et.EdificeError, match=f"no worker is left; .*{last}"):
        run(trials.begin_exit, of(3))


@pytest.mark.parametrize("name", ["edifice-tt", "tinygrad", "numpy"])
@pytest.mark.first(1)
def test_a_worker_of_another_version_is_refused(monkeypatch, name):
    ours = worker.versions()
    monkeypatch.setattr(worker, "versions", lambda: {**ours, name: "0.0.7"})
    theirs = f"it has {name} {ours[name]}, and the driver 0.0.7; install the same on both"
    with pytest.raises(et.EdificeError, match=theirs):
        run(trials.begin_echo, of(3))


@pytest.mark.slow
def test_whoever_leaves_early_leaves_no_process():
    with Processes(2, None) as executor:
        results = drive(executor, trials.begin_slow, of(3, 5, 7), {}, print)
        pids = {next(results)[1][1], next(results)[1][1]}
    assert len(pids) == 2
    assert not any(map(is_there, pids))


DRIVER = """
import trials
from edifice_tt.workers.driving import drive
from edifice_tt.workers.processes import Processes
with Processes(2, None) as executor:
    for _, (_, pid) in drive(executor, trials.begin_slow, trials.of(3, 5), {}, print):
        print(pid, flush=True)
"""


@pytest.mark.slow
def test_workers_of_a_driver_that_was_killed_end():
    path = os.pathsep.join([str(Path(trials.__file__).parent), *filter(None, sys.path)])
    driver = subprocess.Popen(
        [sys.executable, "-c", DRIVER],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
    )
    with driver.stdout as out:
        pids = [int(out.readline()) for _ in range(2)]
        assert all(map(is_there, pids))
        driver.kill()
        driver.wait()
    until(lambda: not any(map(is_there, pids)))
