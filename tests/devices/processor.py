"""What OpenCL computes where it runs on a processor, as JSON: largest errors, relative.

A program, for tinygrad chooses its device once a process: DEV=CL python tests/devices/processor.py
"""

import json
import sys
from contextlib import nullcontext
from functools import partial
from pathlib import Path

sys.path.extend(str(Path(__file__).parents[1] / folder) for folder in ("", "weights"))

import gpu_numbers
import numpy as np
import parity
from tinygrad import Device, dtypes

from edifice_tt.engine import decoder
from edifice_tt.machine.toolchain import is_processor, open_device
from edifice_tt.nn.formats import FORMATS
from edifice_tt.nn.gpu import attention, kernels
from edifice_tt.nn.gpu.table import product_for

BEYOND = [65504, 65519.996, 65520, 1e9, np.inf, -65536, -np.inf, np.nan]
# In the source: what stands there, and the mistake.
MISTAKES = {
    "row of x": ("(ROW(r) * PARTS", "(ROW(r / 2) * PARTS"),
    "scale": ("FORMAT(scale_at)(p, s),", "FORMAT(scale_at)(p, 0),"),
    "norm": ("norms[r];", "norms[0];"),
    "barrier": ("  BARRIER;", ""),
    "weight": ("(place ? w1 : w0)", "w0"),
}
CASE = gpu_numbers.Products(13, (("Q4_K", 21, True), ("Q4_K", 21, False)), 1, True, 0.0, "silu", 64)


class Processor(parity.Parity):
    """The checks of what is not computed so elsewhere."""

    def _as_a_gpu(self):
        return nullcontext()  # here it is the text of a processor that is tried

    def error(self, case, mistake=None):
        ways = partial(product_for, "opencl_cpu")
        return gpu_numbers.error_of_products(self._run, ways, case, mistake)

    def formats(self):
        cases = (gpu_numbers.Products(9, ((kind, 21, True),), 2) for kind in FORMATS)
        return max(map(self.error, cases))

    def bits(self):
        """The numbers of a row that are others in a batch than alone."""
        rng, weights = np.random.default_rng(3), (kernels.Matrix("Q4_1", 37),) * 2
        raw = [gpu_numbers.block_formats.blocks(rng, "Q4_1", 37, 64) for _ in weights]
        x, gain = (rng.normal(size=size).astype(np.float32) for size in ((64, 64), 64))
        found = []
        for rows in (1, 3, 8, 13, 16, 64):
            product = kernels.Product(rows, 64, weights, 1, 1e-5, 0.0, "silu")
            kernel = kernels.kernel_of(product, product_for("opencl_cpu", rows))
            out = gpu_numbers.empty(rows, 37)
            found.append(self._run(kernel, [out], [x[:rows], gain, *raw])[0])
        return float(sum((one != found[-1][: len(one)]).sum() for one in found))

    def model(self):
        """The numbers of a step of a model that are others among sixteen rows than alone."""
        lm, found = self._model("Q8_0"), []
        for count in (1, 16):
            of = decoder.Decoder(lambda: lm)
            of.read_prompt(parity.Letters().encode(parity.PROMPT))
            cache = of.cache_for(count, 4)
            given = np.full((cache.batch, 1), 5, np.int32)
            found.append(
                of.step(given, cache.holding(0, of.prefix), range(count))[1][:count].copy()
            )
        return float((found[0] != found[1]).sum())

    def sections(self):
        """Products of a GPU that stand in one kernel, computed by many groups; each many times."""
        gpu_numbers.block_formats.depth_of = lambda kind: 576
        case = gpu_numbers.Products(
            16, (("Q4_1", 576, True),) + (("Q4_1", 192, False),) * 2, 1, True
        )
        ways = partial(product_for, "opencl")
        return max(gpu_numbers.error_of_products(self._run, ways, case) for _ in range(8))

    def halves(self):
        """What is kept of numbers beyond the largest half, and read again of NaN."""
        heads = attention.Heads(1, 1, 1, 1, 8, 4, kept=dtypes.float16)
        kernel = attention.turn(heads, attention.Turn())
        products = np.array([[*range(8), *BEYOND, *BEYOND]], np.float32)
        own = np.zeros((2, 1, 4, 1, 8), np.uint16)
        _, kept = self._run(
            kernel, [gpu_numbers.empty(1, 8), own], [products, np.zeros(5, np.int32)]
        )
        expected = np.clip(BEYOND, -65504, 65504).astype(np.float16)
        return float((kept[:, 0, 0, 0].view(np.float16) != expected).sum() - 2)  # NaN is no NaN


def main():
    device = open_device("CL")
    if not is_processor(Device[device]):
        raise SystemExit("cannot be opened: OpenCL is no processor here")
    # A size where tinygrad's norm of sixteen rows is another kernel than that of one.
    parity.IN_BLOCKS |= {"hidden_size": 576, "ffn_size": 64}
    of = Processor(device)
    if sys.argv[1:] == ["sections"]:
        print(of.sections())
        return
    found = {name: of.error(case) for name, case in gpu_numbers.PRODUCTS.items()}
    found |= {
        "formats": of.formats(),
        "bits": of.bits(),
        "model": of.model(),
    }
    found |= {"halves": of.halves()}
    mistakes = {name: of.error(CASE, mistake) for name, mistake in MISTAKES.items()}
    print(json.dumps({"found": found, "mistakes": mistakes}))


if __name__ == "__main__":
    main()
