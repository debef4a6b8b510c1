"""The README tells the truth: its Python runs, its commands exist."""

import re
import shlex
from pathlib import Path

import pytest

from edifice_tt.cli import make_parser

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
PYTHON = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
SHELL = [
    line
    for block in re.findall(r"```sh\n(.*?)```", README, re.DOTALL)
    for line in block.splitlines()
]
COMMANDS = [line.partition("edifice-tt ")[2] for line in SHELL if "edifice-tt " in line]


@pytest.mark.slow
@pytest.mark.parametrize("block", PYTHON, ids=range(len(PYTHON)))
def test_python_blocks_run(block, tmp_path, monkeypatch, smollm2_path):
    monkeypatch.chdir(tmp_path)
    exec(compile(block, "README.md", "exec"), {})


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_are_real(command):
    make_parser().parse_args(shlex.split(command, comments=True))


def test_it_stays_short():
    assert len(README.splitlines()) <= 200


def test_both_set_up_commands_are_there():
    first, second = (line for line in SHELL if line.startswith("python3 -m venv"))
    assert first.endswith("-n 16")
    assert second.endswith("-m pytest")


@pytest.mark.parametrize("link", re.findall(r"\]\((?!http)([^)]+)\)", README))
def test_links_lead_somewhere(link):
    assert (ROOT / link).exists()
