"""Compiles CUDA kernels with NVRTC, which needs no GPU. As a program:

NVRTC_PATH=.../libnvrtc.so.12 CUDA_PATH=.../cuda_runtime python compile_cuda.py sm_80

It reads sources from standard input, a JSON string a line. It answers each with a line, a dict: the
`error`, or nothing, and what the machine code takes: `matrices`, instructions that multiply them,
`registers` of a thread, `spilled` bytes that found no register, `shared` bytes of a group.
"""

import ctypes
import json
import os
import re
import sys
from concurrent.futures import ThreadPoolExecutor


def main(arch: str) -> None:
    from tinygrad.device import CompileError
    from tinygrad.helpers import to_char_p_p
    from tinygrad.runtime.autogen import nvrtc
    from tinygrad.runtime.support.compiler_cuda import NVRTCCompiler, _get_bytes, nvrtc_check

    # tinygrad's own options, and a report of the assembler's.
    options = [*NVRTCCompiler(arch).compile_options, "--ptxas-options=-v"]

    def taken(log: str, pattern: str) -> int:
        return sum(int(number) for number in re.findall(rf"(\d+) {pattern}", log))

    def answer(line: str) -> str:
        program = nvrtc.nvrtcProgram()
        nvrtc.nvrtcCreateProgram(
            ctypes.byref(program), json.loads(line).encode(), b"kernel", 0, None, None
        )
        words = to_char_p_p([option.encode() for option in options])
        try:
            nvrtc_check(nvrtc.nvrtcCompileProgram(program, len(options), words), program)
        except CompileError as error:
            return json.dumps({"error": str(error)})
        log, ptx = (
            _get_bytes(program, get, size, nvrtc_check)
            for get, size in (
                (nvrtc.nvrtcGetProgramLog, nvrtc.nvrtcGetProgramLogSize),
                (nvrtc.nvrtcGetPTX, nvrtc.nvrtcGetPTXSize),
            )
        )
        nvrtc_check(nvrtc.nvrtcDestroyProgram(ctypes.byref(program)))
        report = log.decode()
        assert "Used" in report, f"the assembler says nothing of registers: {report}"
        found = {"error": "", "matrices": ptx.count(b"mma.sync")}
        found["registers"] = taken(report, "registers")
        found["spilled"] = taken(report, "bytes spill stores")
        found["shared"] = taken(report, "bytes smem")
        return json.dumps(found)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for line in pool.map(answer, sys.stdin):
            print(line)


if __name__ == "__main__":
    main(*sys.argv[1:])
