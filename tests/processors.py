"""Kernels caught before they run, to be compiled and run as for other processors than this one."""

import ctypes
import shutil
import subprocess
import sys
from typing import NamedTuple

import numpy as np
import pytest

from edifice_tt.machine.toolchain import prepare_compiler
from edifice_tt.nn.cpu import bridge as cpu

BFLOATS = pytest.mark.skipif(
    not cpu.multiplies_bfloats("CPU"), reason="no bfloat16 in this processor"
)
ARM = ["aarch64-linux-musl", "aarch64-macos"]


class Kernel(NamedTuple):
    """What a call would compile, and the arrays that it writes (the result first) and reads."""

    name: str
    source: str
    written: list[np.ndarray]
    read: list[np.ndarray]


def kernel_of(monkeypatch, call):
    """The one kernel that a call would run."""
    caught = []

    def catch(name, library, body, written, read, gradient=None):
        caught.append((name, cpu.write(name, library, body, written, read), written, read))
        return next(iter(written.values()))

    with monkeypatch.context() as patch:
        patch.setattr(cpu, "call", catch)
        call()
    [(name, source, written, read)] = caught
    zeros = [np.zeros(tensor.shape, tensor.dtype.fmt) for tensor in written.values()]
    return Kernel(name, source, zeros, [np.ascontiguousarray(t.numpy()) for t in read.values()])


def run_here(kernel, flags, folder):
    """The result of a kernel compiled as tinygrad does, with these flags, warnings being errors."""
    out = folder / f"{abs(hash((kernel.source, flags)))}.so"
    command = [prepare_compiler(), "-x", "c", "-O2", "-fPIC", "-ffreestanding", "-Werror"]
    command += ["-fno-math-errno", "-nostdlib", "-march=native", "-shared"]
    command += [*flags.split(), "-", "-o", str(out)]
    if not out.exists():
        _compile(command, kernel.source)
    arrays = [*kernel.written, *kernel.read]
    getattr(ctypes.CDLL(str(out)), kernel.name)(
        *(array.ctypes.data_as(ctypes.c_void_p) for array in arrays)
    )
    return kernel.written[0]


MAIN = """
#include <stdio.h>
#include <stdlib.h>
int main(void) {
  long sizes[] = {SIZES};
  void *a[sizeof sizes / sizeof *sizes];
  for (int i = 0; i < sizeof sizes / sizeof *sizes; i++) {
    a[i] = malloc(sizes[i]);
    if (fread(a[i], 1, sizes[i], stdin) != sizes[i]) return 1;
  }
  NAME(ARGUMENTS);
  return fwrite(a[0], 1, sizes[0], stdout) != sizes[0];
}
"""


def run_on_arm(kernel, target, folder, processor="apple_m1"):
    """The result of a kernel compiled for Arm; None where that can be compiled but not run."""
    arrays = [*kernel.written, *kernel.read]
    sizes = ", ".join(str(array.nbytes) for array in arrays)
    arguments = ", ".join(f"a[{i}]" for i in range(len(arrays)))
    main = MAIN.replace("SIZES", sizes).replace("NAME", kernel.name)
    out = folder / f"{kernel.name[:50]}-{target}-{processor}"
    command = [sys.executable, "-m", "ziglang", "cc", f"--target={target}", f"-mcpu={processor}"]
    command += ["-x", "c", "-O2", "-Werror=incompatible-pointer-types", "-", "-o", str(out)]
    _compile(command, kernel.source + main.replace("ARGUMENTS", arguments))
    qemu = shutil.which("qemu-aarch64-static") or shutil.which("qemu-aarch64")
    if target != "aarch64-linux-musl" or not qemu:
        return None
    given = b"".join(array.tobytes() for array in arrays)
    done = subprocess.run([qemu, out], input=given, capture_output=True, check=True)
    return np.frombuffer(done.stdout, np.float32).reshape(kernel.written[0].shape)


def _compile(command, source):
    done = subprocess.run(command, input=source, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def left_to_helpers(source):
    """C whose leader does no part of a job itself, and never rests: helpers do all of each."""
    for line, without in (("  help(t, 0);\n", ""), ("t->resting = REST", "t->resting = 0")):
        assert source.count(line) == 1
        source = source.replace(line, without)
    return source


def normal(rng, *shape):
    return rng.standard_normal(shape).astype(np.float32)
