"""Three nodes of a real Ray on this machine make the file of one process, whoever is killed."""

import os
import shutil
import signal
import socket
from contextlib import suppress
from functools import partial
from pathlib import Path
from threading import Thread
from types import SimpleNamespace

import pytest
from edifice_tt_ray import make
from ray.cluster_utils import Cluster

import edifice_tt as et
from edifice_tt.testing import SharedRun, check_executor

NODE = {"num_cpus": 1, "include_dashboard": False, "object_store_memory": 100_000_000}


@pytest.fixture(scope="module")
def cluster():
    with_gpus = {**NODE, "num_gpus": 5}  # Ray takes our word for it
    cluster = Cluster(initialize_head=True, head_node_args=with_gpus)
    nodes = [cluster.add_node(**NODE) for _ in range(2)]
    cluster.last = nodes[-1]
    yield cluster
    cluster.shutdown()


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """The file of one process."""
    run = SharedRun(tmp_path_factory.mktemp("alone"))
    run.finish(run.generate("alone"))
    return run


@pytest.fixture
def run(tmp_path, cluster, alone):
    (tmp_path / "alone").write_bytes((alone.path / "alone").read_bytes())
    return SharedRun(tmp_path, ["--executor", "ray", "--address", cluster.address])


def descendants(pid):
    """The processes that a process has begun, and theirs."""
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(OSError):
            for child in path.read_text().split():
                yield int(child)
                yield from descendants(int(child))


def actors():
    """The processes of actors that this cluster runs."""
    found = []
    for pid in descendants(os.getpid()):
        with suppress(OSError):
            if Path(f"/proc/{pid}/cmdline").read_bytes().startswith(b"ray::Actor"):
                found.append(pid)
    return found


def test_it_keeps_the_contract(cluster):
    check_executor("ray", address=cluster.address, workers=2)


def test_a_worker_sees_its_own_gpus_alone(cluster):
    told = []
    refusing = SimpleNamespace(waiting=True, take=lambda: None, refuse=told.append)

    def start():
        return SimpleNamespace(refused=os.environ["CUDA_VISIBLE_DEVICES"])

    with make(cluster.address, gpus=2) as executor:
        assert [*executor.map_unordered(start, refusing)] == []
    assert len({*told[0].split(",")}) == 2


def test_a_device_that_a_worker_lacks_is_one_line(run, cluster):
    """A driver without a GPU stands for one with it."""
    lm = et.load_pretrained(run.path / "tiny.safetensors", "CPU")
    lm.reload = partial(et.load_pretrained, run.path / "tiny.safetensors", "CUDA")
    how = {"executor": "ray", "address": cluster.address, "gpus_per_worker": 1}
    with (
        pytest.warns(
            et.PoolWarning, match="a worker is refused: .*device 'CUDA'.*cannot be opened"
        ),
        pytest.raises(et.EdificeError, match=r"no worker is left; the last one: .*device 'CUDA'"),
    ):
        et.generate_pools(lm, [et.Problem("k")], run.path / "pool", **how)


def test_python_says_it_by_arguments(run, cluster):
    lm = et.load_pretrained(run.path / "tiny.safetensors", "CPU")
    how = {"n": 2, "max_tokens": 20}
    problems = [et.Problem(f"ask {i}", str(i)) for i in range(3)]
    et.generate_pools(lm, problems, run.path / "one", **how)
    et.generate_pools(
        lm, problems, run.path / "pool", **how, executor="ray", address=cluster.address
    )
    assert run.contents("pool") == run.contents("one")
    pools = [*et.read_pools(run.path / "pool")]
    scored = et.score_pools(lm, pools, "linear", executor="ray", address=cluster.address)
    assert {pool.problem: pool for pool in scored} == {
        pool.problem: pool for pool in et.score_pools(lm, pools, "linear")
    }


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
    assert all(pool.scorers == ["linear"] for pool in et.read_pools(run.path / "pool"))


def test_an_actor_and_a_node_that_are_killed_change_nothing(run, cluster):
    driver = run.generate("pool")
    run.wait_for_lines(driver, "pool", 20)
    cluster.remove_node(cluster.last, allow_graceful=False)
    os.kill(actors()[0], signal.SIGKILL)
    assert driver.poll() is None
    run.finish(driver)
    assert run.contents("pool") == run.contents("alone")
    assert run.num_lines("pool") == 1 + 30 + 240


@pytest.mark.parametrize(
    ("address", "options", "message"),
    [
        ("127.0.0.1:1", {}, "Ray: nobody answers at 127.0.0.1:1"),
        ("nowhere", {}, "Ray: 'nowhere' is no address; give HOST:PORT, or auto"),
        ("here", {"workers": 99}, "room for . workers of 1 cores, and 99 are asked for"),
        ("here", {"gpus": 7}, "room for 0 workers of 1 cores and 7 GPUs; ask for fewer"),
        ("here", {"gpus": 2, "workers": 2}, "room for 1 workers .* 2 GPUs, and 2 are asked for"),
    ],
)
def test_a_mistake_is_one_line(cluster, address, options, message):
    with pytest.raises(et.EdificeError, match=message):
        make(cluster.address if address == "here" else address, **options)


@pytest.mark.parametrize("greeting", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n"])
def test_an_address_where_somebody_else_listens_is_one_line(monkeypatch, greeting):
    monkeypatch.setattr("edifice_tt_ray.executor.REACH_S", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as server:

        def greet():
            connection, _ = server.accept()
            with connection:
                connection.sendall(greeting)
                connection.recv(99)

        thread = Thread(target=greet)
        thread.start()
        address = f"127.0.0.1:{server.getsockname()[1]}"
        with pytest.raises(
            et.EdificeError, match=f"Ray: .* at {address} .(timed out|what listens)"
        ):
            make(address)
        thread.join()
