"""Three workers of a real Dask on this machine make the file of one process, whoever is killed."""

import gc
import os
import shutil
import signal
import socket
from types import SimpleNamespace

import pytest
from distributed import Client, LocalCluster
from edifice_tt_dask import make

import edifice_tt as et
from edifice_tt.testing import SharedRun, check_executor


@pytest.fixture(scope="module")
def cluster():
    how = {"threads_per_worker": 1, "dashboard_address": None}
    with LocalCluster(n_workers=3, **how) as cluster:
        yield cluster


def share(cluster):
    return ["--executor", "dask", "--address", cluster.scheduler_address]


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """The file of one process."""
    run = SharedRun(tmp_path_factory.mktemp("alone"))
    run.finish(run.generate("alone"))
    return run


@pytest.fixture
def run(tmp_path, cluster, alone):
    (tmp_path / "alone").write_bytes((alone.path / "alone").read_bytes())
    return SharedRun(tmp_path, share(cluster))


def test_it_keeps_the_contract(cluster):
    check_executor("dask", address=cluster.scheduler_address)


def test_a_driver_that_was_killed_is_resumed_to_the_same_file(run):
    driver = run.generate("pool")
    run.wait_for_lines(driver, "pool", 30)
    driver.kill()
    run.finish(driver, -signal.SIGKILL)
    assert run.contents("pool") != run.contents("alone")
    run.finish(run.generate("pool", "--resume"))
    assert run.contents("pool") == run.contents("alone")


def test_scores_are_those_of_one_process(run):
    shutil.copy(run.path / "alone", run.path / "pool")
    for one, name in ((SharedRun(run.path), "alone"), (run, "pool")):
        one.finish(one.start("score", name, "--scorer", "linear"))
    assert run.contents("pool") == run.contents("alone")


def test_workers_that_are_killed_change_nothing(run, cluster):
    """One with its nanny, as a machine that goes, and one that its nanny begins again."""
    driver = run.generate("pool")
    run.wait_for_lines(driver, "pool", 20)
    one, other, *_ = cluster.workers.values()
    cluster.sync(one.kill)
    os.kill(other.process.pid, signal.SIGKILL)
    assert driver.poll() is None
    run.finish(driver)
    assert run.contents("pool") == run.contents("alone")
    assert run.num_lines("pool") == 1 + 30 + 240


def test_a_model_that_is_not_there_is_one_line(run):
    driver = run.generate("pool")
    while not (run.path / "pool").exists():
        assert driver.poll() is None
    (run.path / "tiny.safetensors").unlink()
    told = run.finish(driver, 2)
    assert "no worker is left" in told
    assert "tiny.safetensors: there is no such file or folder" in told


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("", "give --address tcp://HOST:PORT"),
        ("nowhere", "no scheduler at nowhere .missing port"),
        ("http://localhost:1", "no scheduler at http://localhost:1"),
    ],
)
def test_an_address_that_is_none_is_one_line(address, message):
    with pytest.raises(et.EdificeError, match=message):
        make(address)


@pytest.mark.parametrize("address", ["nowhere", "http://localhost:1", "tcp://127.0.0.1:9"])
def test_nothing_is_left_of_a_client_that_reached_nobody(address, monkeypatch):
    """Its collection takes a lock of Dask, and waits for ever where Dask holds it."""
    monkeypatch.setattr("edifice_tt_dask.executor.REACH_S", 1.0)
    gc.disable()
    try:
        before = num_clients()
        with pytest.raises(et.EdificeError, match="no scheduler at"):
            make(address)
        assert num_clients() == before
    finally:
        gc.enable()


def num_clients():
    return sum(isinstance(one, Client) for one in gc.get_objects())


def test_a_scheduler_is_asked_with_the_certificates_of_a_client(monkeypatch):
    asked = {}

    def rpc(address, **how):
        asked.update(how)
        raise OSError("asked")

    certificates = SimpleNamespace(get_connection_args=lambda role: {"ssl_context": role})
    monkeypatch.setattr("edifice_tt_dask.executor.Security", lambda: certificates)
    monkeypatch.setattr("edifice_tt_dask.executor.rpc", rpc)
    with pytest.raises(et.EdificeError, match="asked"):
        make("tls://127.0.0.1:9")
    assert asked["connection_args"] == {"ssl_context": "client"}


def test_gpus_that_no_worker_has_are_refused(cluster):
    with pytest.raises(et.EdificeError, match="no worker has 1 GPUs; begin one with --resources"):
        make(cluster.scheduler_address, gpus=1)


def test_a_scheduler_that_goes_is_one_line_and_the_file_stays(run):
    how = {"threads_per_worker": 1, "dashboard_address": None}
    with LocalCluster(n_workers=1, **how) as cluster:
        run.share = share(cluster)
        driver = run.generate("pool")
        run.wait_for_lines(driver, "pool", 20)
    told = run.finish(driver, 2)
    assert told.count("edifice-tt: error: ") == 1
    made, alone = run.contents("pool"), run.contents("alone")
    assert all(one in alone[name].candidates for name, pool in made.items() for one in pool)


def test_an_address_where_somebody_else_listens_is_one_line(monkeypatch):
    monkeypatch.setattr("edifice_tt_dask.executor.REACH_S", 1.0)
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"tcp://127.0.0.1:{server.getsockname()[1]}"
        with pytest.raises(et.EdificeError, match=f"Dask: no scheduler at {address}"):
            make(address)
