"""Three nodes of a real Ray on this machine make the file of one process, whoever is killed."""

import os
import signal
from contextlib import suppress
from pathlib import Path

import pytest
from conftest import descendants
from edifice_tt_ray import make
from ray.cluster_utils import Cluster

import edifice_tt as et
from edifice_tt.testing import check_executor

NODE = {"num_cpus": 1, "include_dashboard": False, "object_store_memory": 100_000_000}


@pytest.fixture(scope="module")
def cluster():
    cluster = Cluster(initialize_head=True, head_node_args=NODE)
    nodes = [cluster.add_node(**NODE) for _ in range(2)]
    cluster.last = nodes[-1]
    yield cluster
    cluster.shutdown()


@pytest.fixture
def share(cluster):
    return ["--executor", "ray", "--address", cluster.address]


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


def test_a_driver_that_was_killed_is_resumed_to_the_same_file(folder, share):
    driver = folder.generate(folder.pool, *share)
    folder.wait_for_lines(driver, 30)
    driver.kill()
    folder.finish(driver, -signal.SIGKILL)
    assert folder.contents("pool.jsonl") != folder.contents("alone.jsonl")
    folder.finish(folder.generate(folder.pool, *share, "--resume"))
    assert folder.contents("pool.jsonl") == folder.contents("alone.jsonl")


def test_scores_are_those_of_one_process(folder, share):
    folder.pool.write_bytes((folder.path / "alone.jsonl").read_bytes())
    given = ["--scorer", "linear", "-m", "tiny.safetensors"]
    folder.finish(folder.start("score", "alone.jsonl", *given))
    folder.finish(folder.start("score", folder.pool, *given, *share))
    assert folder.contents("pool.jsonl") == folder.contents("alone.jsonl")
    assert all(pool.scorers == ["linear"] for pool in et.read_pools(folder.pool))


def test_an_actor_and_a_node_that_are_killed_change_nothing(folder, cluster, share):
    driver = folder.generate(folder.pool, *share)
    folder.wait_for_lines(driver, 20)
    cluster.remove_node(cluster.last, allow_graceful=False)
    os.kill(actors()[0], signal.SIGKILL)
    assert driver.poll() is None
    folder.finish(driver)
    assert folder.contents("pool.jsonl") == folder.contents("alone.jsonl")
    assert folder.lines() == 1 + 30 + 240


@pytest.mark.parametrize(
    ("address", "options", "message"),
    [
        ("127.0.0.1:1", {}, "Ray: nobody answers at 127.0.0.1:1"),
        ("nowhere", {}, "Ray: 'nowhere' is no address; give HOST:PORT, or auto"),
        ("here", {"workers": 99}, "room for . workers of 1 cores, and 99 are asked for"),
        ("here", {"gpus": 1}, "room for 0 workers of 1 cores and 1 GPUs; ask for fewer"),
    ],
)
def test_a_mistake_is_one_line(cluster, address, options, message):
    with pytest.raises(et.EdificeError, match=message):
        make(cluster.address if address == "here" else address, **options)
