"""What tinygrad compiles in this process: how many kernels, on tensor cores, with which dtypes."""

from tinygrad.codegen.opt.postrange import Scheduler
from tinygrad.dtype import dtypes
from tinygrad.uop.ops import Ops

WIDE = (dtypes.float64, dtypes.int64, dtypes.uint64)


class KernelLog:
    """Counts from its making on. `wide` names kernels that read or write 64-bit numbers."""

    def __init__(self):
        self.count, self.tensor_cores, self.wide = 0, 0, []
        finish = Scheduler.get_optimized_ast

        def spy(scheduler, *args, **kwargs):
            kernel = finish(scheduler, *args, **kwargs)
            self._look_at(kernel)
            return kernel

        Scheduler.get_optimized_ast = spy

    def _look_at(self, kernel):
        parts = kernel.toposort()
        self.count += 1
        self.tensor_cores += any(part.op is Ops.WMMA for part in parts)
        buffers = [p for p in parts if p.op is Ops.PARAM]
        self.wide += [f"{kernel.arg.name}: {b.dtype}" for b in buffers if b.dtype in WIDE]
