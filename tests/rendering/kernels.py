"""Renders every kernel of the library's paths for a device that need not be there.

As a program it writes the kernels to standard output, one a line, as JSON:

DEV=METAL NULL_ALLOW_COPYOUT=1 python kernels.py float32 float16

In place of the device stands tinygrad's NULL, which computes nothing, under the device's own name:
what tinygrad does for that name alone (the number of buffers, TF32) is done here too. Knows no
compiler and no device's limits.
"""

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace

import numpy as np
from absent import pretend
from tinygrad import Context, Device, Tensor
from tinygrad.codegen import to_program_cache
from tinygrad.dtype import AddrSpace
from tinygrad.nn.state import get_parameters
from tinygrad.runtime.ops_null import NullAllocator, NullProgram
from tinygrad.uop.ops import Ops, UOp

import edifice_tt as et
from edifice_tt.architectures.causal_lm import CausalLM, CausalLMConfig
from edifice_tt.engine.hidden import read_hidden
from edifice_tt.machine import toolchain
from edifice_tt.nn.buffers import place
from edifice_tt.nn.cpu import draws
from edifice_tt.scoring.verifier import new_head
from edifice_tt.testing import byte_tokenizer
from edifice_tt.training.examples import Example, shape_of
from edifice_tt.training.loop import Loop, Schedule
from edifice_tt.training.losses import outcome_loss, pairwise_loss
from edifice_tt.training.progress import Progress, seeded
from edifice_tt.weights.gguf import read_arrays
from edifice_tt.weights.gguf_header import TYPES, Entry
from edifice_tt.weights.safetensors import open_safetensors, write_safetensors

# What SmolLM2-135M is, but for its 30 layers: they are all alike, and the third is as the second.
SMOLLM2 = CausalLMConfig(
    vocab_size=49152,
    hidden_size=576,
    num_layers=2,
    num_heads=9,
    num_kv_heads=3,
    ffn_size=1536,
    rope_base=100000.0,
)
FORMATS = ("F32", "F16", "BF16", "Q4_0", "Q4_1", "Q8_0", "Q4_K", "Q6_K", "IQ4_NL")
PROMPT = "What is the capital of France?"


@dataclass(frozen=True)
class Kernel:
    """One kernel as a device is given it."""

    dtype: str
    path: str  # of the library: the first that needs it
    name: str
    source: str
    buffers: tuple[str, ...]  # the dtype of each buffer that it is given
    variables: int  # the numbers beside them
    threads: tuple[int, ...]  # of a work group
    groups: tuple[int, ...]  # at most
    shared_bytes: int
    tensor_cores: int  # instructions that multiply matrices

    @classmethod
    def of(cls, dtype: str, path: str, program: UOp) -> "Kernel":
        _, linear, source = program.src[:3]
        params = [u for u in linear.src if u.op is Ops.PARAM]
        shared = [u for u in linear.src if u.op is Ops.BUFFER and u.addrspace is AddrSpace.LOCAL]
        info = program.arg
        return cls(
            dtype,
            path,
            info.function_name,
            source.arg,
            tuple(u.dtype.name for u in params if u.addrspace is not AddrSpace.ALU),
            sum(u.addrspace is AddrSpace.ALU for u in params),
            tuple(info.local_size or ()),
            tuple(int(size.vmax if isinstance(size, UOp) else size) for size in info.global_size),
            sum(u.max_numel() * u.dtype.itemsize for u in shared),
            sum(u.op is Ops.WMMA for u in linear.src),
        )


def scoring(dtype: str) -> Iterator[str]:
    """The ported model: with its defaults, and of sizes that no tile divides."""
    small = {"hidden_size": 14, "num_layers": 1, "num_heads": 1, "num_kv_heads": 1}
    sizes = [((16, 60, 64), {}), ((3, 7, 5), {**small, "scorer_hidden": 3})]
    for shape, options in sizes if dtype == "float32" else sizes[:1]:
        model = et.build("test_time_compute", embed_dim=shape[-1], **options)
        store(get_parameters(model), dtype)
        yield "setting up"
        out = model(Tensor.empty(*shape, dtype=dtype))
        Tensor.realize(*out, et.select_best_of_n(out.scores))
        yield "scoring"


def language_model(dtype: str) -> Iterator[str]:
    """Prompt, candidates and their hidden states; tokens are drawn on the host."""
    lm = CausalLM(SMOLLM2)
    store([weight for weight in get_parameters(lm) if weight.ndim == 2], dtype)
    lm.tokenizer = byte_tokenizer()
    yield "setting up"
    et.generate(lm, PROMPT, n=1, max_tokens=1)
    yield "prefill"
    pool = et.generate(lm, PROMPT, n=16, max_tokens=2)
    yield "decode"
    read_hidden(lm, pool)
    yield "hidden states"


def store(weights: Sequence[Tensor], dtype: str) -> None:
    for weight in weights:
        weight.replace(weight.cast(dtype).contiguous())
    Tensor.realize(*weights)


def training(dtype: str) -> Iterator[str]:
    """A step of a head, and its loss on what is held out."""
    if dtype != "float32":  # whatever the model's
        return
    size = SMOLLM2.hidden_size
    states = [np.ones((1, size), np.float16)] * 4
    some = [np.ones(1, np.float32)] * 4
    candidates = tuple(et.Candidate(i, "?", correct=i == 0) for i in range(4))
    example = Example(et.Pool("?", candidates), states, some, some)
    inputs = np.zeros(size, np.float32), np.ones(size, np.float32)
    for loss in (outcome_loss, pairwise_loss()):
        options = {"scorer_hidden": 128, "dropout": 0.1, "seed": 0}
        head = place(new_head("mlp", size, options), Device.DEFAULT)
        schedule = Schedule(1e-3, 0.01, batch_problems=8, epochs=1, patience=1, seed=0)
        with seeded(0):
            loop = Loop(head, loss, shape_of([example]), schedule, inputs)
            yield "setting up"
            loop.run(Progress(), [example], [example])
        yield "training"


def loading(dtype: str) -> Iterator[str]:
    """Weights out of the files that models come in: GGUF, then safetensors."""
    if dtype != "float32":  # they become float32, whatever they were
        return
    entries, start = {}, 0
    for kind in FORMATS:
        ggml_type = next(number for number, (name, _, _) in TYPES.items() if name == kind)
        size = 4 * 256 // TYPES[ggml_type][1] * TYPES[ggml_type][2]
        entries[kind] = Entry(ggml_type, (4, 256), start, start + size)
        start += -(-size // 32) * 32
    data = np.zeros(start, np.uint8)
    header = SimpleNamespace(entries=entries, read=lambda start, stop: data[start:stop])
    list(read_arrays(header, Device.DEFAULT, entries))
    with TemporaryDirectory() as folder:
        path = Path(folder, "model.safetensors")
        halves = {name: Tensor.zeros(8, 8, dtype=name) for name in ("float16", "bfloat16")}
        write_safetensors(path, halves, {})
        for name in halves:
            tensor = open_safetensors(path).read(name, Device.DEFAULT)
            tensor.cast("float32").contiguous().realize()
    yield "loading"


def kernels(dtype: str) -> Iterator[Kernel]:
    """Those of each path that no path before needed, whatever its dtype."""
    for path in (scoring, language_model, training, loading):
        before = len(to_program_cache)
        for name in path(dtype):
            for program in list(to_program_cache.values())[before:]:
                if name != "setting up":
                    yield Kernel.of(dtype, name, program)
            before = len(to_program_cache)


if __name__ == "__main__":
    toolchain._compute = lambda device: None  # nothing is computed here, only rendered
    draws._program = lambda: None  # that is C for this CPU
    pretend(Device.DEFAULT, NullAllocator, NullProgram)
    with Context(PARALLEL=0):  # all in this process, where they are found again
        for dtype in sys.argv[1:]:
            for kernel in kernels(dtype):
                print(json.dumps(asdict(kernel)), flush=True)
