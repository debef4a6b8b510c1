"""Lets Dawn read WGSL kernels and make pipelines of them, without a GPU. As a program:

WEBGPU_PATH=.../libwebgpu_dawn.so WEBGPU_BACKEND=WGPUBackendType_Null python compile_webgpu.py

It reads from standard input, a line each, JSON [source, name, buffers, variables], and answers with
a line: the error, or nothing. Dawn's Null backend checks all and computes nothing.
"""

import json
import sys


def main() -> None:
    from tinygrad import Device
    from tinygrad.device import TinyELF
    from tinygrad.helpers import Target

    device = Device["WEBGPU"]
    for line in sys.stdin:
        source, name, buffers, variables = json.loads(line)
        try:
            program = device.runtime(TinyELF(source.encode(), name, Target(), ()))
            program(*(device.allocator.alloc(64) for _ in range(buffers)), vals=(1,) * variables)
            error = ""
        except RuntimeError as refusal:
            error = str(refusal)
        print(json.dumps(error))


if __name__ == "__main__":
    main()
