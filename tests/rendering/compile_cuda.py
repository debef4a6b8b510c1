"""Compiles CUDA kernels with NVRTC, which needs no GPU. As a program:

NVRTC_PATH=.../libnvrtc.so.12 CUDA_PATH=.../cuda_runtime python compile_cuda.py sm_80

It reads sources from standard input, a JSON string a line, and answers each with a line: an error,
or nothing, and how many instructions multiply matrices.
"""

import json
import os
import sys
from concurrent.futures import ThreadPoolExecutor


def main(arch: str) -> None:
    from tinygrad.device import CompileError
    from tinygrad.runtime.support.compiler_cuda import NVRTCCompiler

    # tinygrad's own options; `compile` passes its cache by.
    compiler = NVRTCCompiler(arch)

    def answer(line: str) -> str:
        try:
            compiled = compiler.compile(json.loads(line))
        except CompileError as error:
            return json.dumps([str(error), 0])
        return json.dumps(["", compiled.count(b"mma.sync")])

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for line in pool.map(answer, sys.stdin):
            print(line)


if __name__ == "__main__":
    main(*sys.argv[1:])
