"""A program that lies far from the C library calls it all the same."""

import os
import subprocess
import sys

import pytest

PROGRAM = """
import mmap
import numpy as np
from tinygrad import Tensor, dtypes
from edifice_tt.machine.toolchain import open_device
from edifice_tt.nn.cpu import bridge

open_device("CPU")

def reserve(size):  # never written to, so it takes no memory
    area = mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, mmap.PROT_READ)
    held.append(np.frombuffer(area, np.uint8))
    return held[-1].ctypes.data

held = []
lowest = reserve(1 << 32)
for size in (1 << 20, 1 << 16, 1 << 12):
    while reserve(size) > lowest:  # holes near the libraries are filled
        pass
x = Tensor.ones(4096, device="CPU").contiguous().realize()
out = Tensor.invalids(4096, dtype=dtypes.float32, device="CPU")
body = "typedef struct { float x[4096]; } all; *(all *)out = *(const all *)x;"  # calls memcpy
[copy] = bridge.call("far", "#define WIDE", body, {"out": out}, {"x": x})
print(copy.numpy().sum())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux promises where memory is mapped")
@pytest.mark.slow
def test_a_program_behind_much_memory_reaches_the_c_library():
    environment = os.environ | {"DEV": "CPU", "CACHELEVEL": "0"}
    command = [sys.executable, "-c", PROGRAM]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert (done.returncode, done.stdout) == (0, "4096.0\n"), done.stderr
