"""The kernels that OpenCL is given where it runs on a processor, as PoCL does."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow


def told(*words, **more):
    program = Path(__file__).with_name("processor.py")
    command, env = [sys.executable, program, *words], os.environ | {"DEV": "CL", **more}
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    if "cannot be opened" in done.stderr:
        pytest.skip(done.stderr.strip().splitlines()[-1])
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def numbers():
    return told(POCL_EXTRA_BUILD_FLAGS="-cl-opt-disable")


def test_barriers_behind_no_condition_give_right_numbers_in_every_group():
    assert told("sections") < 2e-6  # optimised, as only then PoCL computes wrong numbers


def test_products_are_numpy_s_in_each_format_and_from_one_kernel_for_several(numbers):
    wrong = {name: error for name, error in numbers["found"].items() if not abs(error) < 2e-6}
    assert not wrong


def test_a_row_has_the_same_bits_alone_and_in_any_batch(numbers):
    assert numbers["found"]["bits"] == numbers["found"]["model"] == 0


def test_what_is_beyond_the_largest_half_is_kept_as_that(numbers):
    assert numbers["found"]["halves"] == 0


def test_a_mistake_is_seen(numbers):
    assert min(numbers["mistakes"].values()) > 1e-3
