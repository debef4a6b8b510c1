"""Former names of modules lead to the present ones."""

import subprocess
import sys
from importlib import import_module

import pytest

from edifice_tt.former import FORMER


@pytest.mark.parametrize(("former", "now"), FORMER.items())
def test_a_former_name_is_the_module_that_it_is_now(former, now):
    module = import_module(f"edifice_tt.{now}")
    assert import_module(f"edifice_tt.{former}") is module
    assert module.__spec__.name == module.__name__ == f"edifice_tt.{now}"


def test_a_former_room_gives_its_modules():
    code = (
        "from edifice_tt.inference import lockstep, pool_file\n"
        "from edifice_tt.inference.hidden import read_hidden\n"
        "from edifice_tt import registry\n"
        "assert lockstep.__name__ == 'edifice_tt.engine.lockstep'\n"
        "assert pool_file.write_pools and read_hidden and registry.build\n"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)


def test_a_name_that_never_was_is_an_import_error():
    with pytest.raises(ModuleNotFoundError, match="nothing"):
        import_module("edifice_tt.inference.nothing")
