"""llama-cpp-python's own server with a real model, where both are installed."""

import importlib.util
import socket
import subprocess
import sys
import time

import httpx2
import pytest

import edifice_tt as et
from edifice_tt.testing import run_command

NEEDS = ("llama_cpp", "uvicorn", "fastapi", "sse_starlette", "starlette_context")


def find_model():
    """The file of the smallest model of the catalog, if it is here."""
    here = (one for one in et.local_models() if one.name == "smollm2-135m")
    return next((one.path for one in here if one.path), None)


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    if lacks := [name for name in NEEDS if importlib.util.find_spec(name) is None]:
        pytest.skip(f"llama-cpp-python's server is not installed: {', '.join(lacks)}")
    if (model := find_model()) is None:
        pytest.skip("the model smollm2-135m is not here; edifice-tt pull smollm2-135m")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = ["--model", model, "--port", port, "--model_alias", "tiny", "--logits_all", "true"]
    command = [sys.executable, "-m", "llama_cpp.server", *map(str, words)]
    log = tmp_path_factory.mktemp("server") / "log"
    address = f"http://127.0.0.1:{port}/v1"
    with log.open("w") as out, subprocess.Popen(command, stdout=out, stderr=out) as server:
        try:
            wait_for(address, server, log)
            yield address
        finally:
            server.kill()


def wait_for(address, server, log):
    while server.poll() is None:
        try:
            httpx2.get(f"{address}/models", trust_env=False)
            return
        except httpx2.TransportError:
            time.sleep(0.1)
    pytest.fail(log.read_text()[-2000:])


def test_a_real_server_fills_a_pool_and_judges_it(url, tmp_path, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    path = tmp_path / "pool.jsonl"
    words = ("What is the capital of France?", "-n", 3, "--max-tokens", 13, "--logprobs")
    assert run_command("openai", "generate", "--url", url, "-o", path, *words) == 0
    pool = et.Pool.load(path)
    assert (len(pool), pool.settings["model"]) == (3, "tiny")
    assert all(len(one.token_logprobs) == one.num_tokens > 0 for one in pool)
    assert len({one.text for one in pool}) > 1, "each request has a seed of its own"
    options = ("--scorer-option", f"url={url}", "--scorer-option", "gives=yes")
    assert run_command("score", path, "--scorer", "openai_judge", *options) == 0
    assert run_command("score", path, "--scorer", "logprob") == 0
    assert len(et.Pool.load(path).scorers) == 2
