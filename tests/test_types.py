"""A script that uses the whole public interface passes `mypy --strict`."""

import inspect
import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest

import edifice_tt as et
from edifice_tt.sampling.request import Request, Sampling
from edifice_tt.scoring.many import ScoreOptions
from edifice_tt.training.options import AnyLayerOptions, FitOptions, LayerOptions

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


@pytest.mark.slow
def test_a_misspelt_name_or_option_is_found(tmp_path):
    script = tmp_path / "wrong.py"
    script.write_text(
        "import edifice_tt as et\n"
        "et.generat('x')\n"
        "et.no_such_name\n"
        "lm = et.load_pretrained('a')\n"
        "et.generate_pools(lm, [], 'x', max_token=3)\n"
        "et.fit_scorer(lm, [], epoch=3)\n"
        "et.compare_layers(lm, [], layer=3)\n"
        "et.score_pools(lm, [], reduc='min')\n"
    )
    said = check(script, tmp_path).stdout
    lines = re.findall(r"wrong\.py:(\d): error: .*\[(?:attr-defined|call-arg)\]", said)
    assert lines == ["2", "3", "5", "6", "7", "8"], said


def test_the_typed_options_are_those_that_are_taken():
    names = {field.name for field in fields(Request)}
    assert set(Sampling.__annotations__) == names
    assert set(LayerOptions.__annotations__) == {field.name for field in fields(FitOptions)}
    assert set(LayerOptions.__annotations__) - set(AnyLayerOptions.__annotations__) == {"layer"}
    score, score_pools = (set(inspect.signature(f).parameters) for f in (et.score, et.score_pools))
    handed_on = score & score_pools - {"lm", "scorer", "progress"}
    assert set(ScoreOptions.__annotations__) == handed_on
