"""The README tells the truth: its Python runs, its commands exist."""

import re
import shlex
from pathlib import Path

import pytest

from edifice_tt import cli
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
@pytest.mark.first(3)
def test_commands_are_real(command):
    make_parser().parse_args(shlex.split(command, comments=True))


@pytest.mark.slow
@pytest.mark.parametrize("heading", ["## 2. Many problems", "## 3. Train a scorer"])
def test_the_lines_of_a_section_run_in_their_order(heading, tmp_path, monkeypatch, smollm2_path):
    """With fewer and shorter candidates; what one line writes, the next one reads."""
    section = README.partition(heading)[2].partition("\n## ")[0]
    (block,) = re.findall(r"```sh\n(.*?)```", section, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    for example in re.findall(r"```json\n(.*?)```", section, re.DOTALL):
        Path("problems.jsonl").write_text(example)
    few = {"generate": ["-n", "3", "--max-tokens", "4"], "train": ["--epochs", "1"]}
    for line in block.splitlines():
        _, *argv = shlex.split(line, comments=True)
        more = [*few.get(argv[0], []), *(["--num", "7"] if "--num" in argv else [])]
        assert cli.main([*argv, *more]) == 0, line


def test_it_stays_short():
    assert len(README.splitlines()) <= 200


def test_both_set_up_commands_are_there():
    first, second = (line for line in SHELL if line.startswith("python3 -m venv"))
    assert first.endswith("-n 16")
    assert second.endswith("-m pytest")


@pytest.mark.parametrize("link", re.findall(r"\]\((?!http)([^)]+)\)", README))
def test_links_lead_somewhere(link):
    assert (ROOT / link).exists()
