"""A script that uses the whole public interface passes `mypy --strict`."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import edifice_tt as et

TESTS = Path(__file__).parent
SCRIPT = TESTS / "user_script.py"


def check(script, folder):
    """What mypy says of a script, strict and without this project's settings."""
    pytest.importorskip("mypy", reason="mypy is not here; it comes with the extra dev")
    options = ["--strict", "--follow-imports=silent", "--config-file=", "--cache-dir", str(folder)]
    return subprocess.run(
        [sys.executable, "-m", "mypy", *options, str(script)],
        cwd=TESTS.parent,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_script_uses_every_public_name():
    assert set(re.findall(r"\bet\.(\w+)", SCRIPT.read_text())) >= {*et.__all__}


@pytest.mark.slow
def test_a_user_s_script_passes_mypy_strict(tmp_path):
    done = check(SCRIPT, tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_a_mistake_in_it_is_found(tmp_path):
    """So the types are not Any."""
    script = tmp_path / "wrong.py"
    script.write_text(
        "import edifice_tt as et\n"
        "print(et.load_pretrained('a').nme)\n"
        "print(et.build('test_time_compute').hiden)\n"
        "print(et.load('a').arcitecture)\n"
        "print(et.load_edifice('a').nme)\n"
        "print(et.generate(et.load_pretrained('a'), 'b')[0].txt)\n"
    )
    lines = re.findall(r"wrong\.py:(\d): error: .*\[attr-defined\]", check(script, tmp_path).stdout)
    assert lines == ["2", "3", "4", "5", "6"]
