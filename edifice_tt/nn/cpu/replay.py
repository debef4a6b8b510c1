"""Captured graphs of tinygrad's CPU device as calls of its programs; knows no model.

tinygrad looks at every buffer of every kernel in each replay, 50 to 100 microseconds per kernel.
Here the addresses are looked up once. A program is told where to read and write. So what was
captured for one layer, or for one thread, serves all others with other addresses.
"""

from collections.abc import Callable, Mapping, Sequence
from ctypes import ArgumentError, c_uint64, c_void_p, cast
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tinygrad import GlobalCounters, Tensor
from tinygrad.device import Buffer
from tinygrad.engine.realize import (
    compile_linear,
    get_call_arg_uops,
    get_runtime,
    link_linear,
    run_linear,
)
from tinygrad.uop.ops import Ops, UOp

from edifice_tt.machine.exclusive import exclusive
from edifice_tt.nn.buffers import in_memory, wrap
from edifice_tt.nn.cpu import bridge as cpu

C_ROOM = "chain"
MOST = 48  # arguments of a program that C calls; in c/chain.c


class Argument(NamedTuple):
    """A memory, named by the address at which it lay when captured, and a place in it."""

    memory: int
    offset: int


class Capture(NamedTuple):
    """The programs that a function calls, in order, with what each is given."""

    calls: tuple[tuple[Any, tuple[Argument, ...]], ...]
    written: Mapping[int, int]  # each memory that is written to, and its bytes
    returned: Any  # the function's Tensors
    held: Any  # keeps programs and memory alive


def capture(function: Callable[..., Any], *inputs: Tensor) -> Capture | None:
    """What a function of Tensors does on tinygrad's CPU device; None if that is no plain program.

    The function is called once. What it computes on the way, and not in what it returns, would be
    missing in a replay, so that is no plain program either. Not by `TinyJit`: while that captures,
    no thread may read a Tensor.
    """
    before = GlobalCounters.kernel_count
    returned = function(*inputs)
    if GlobalCounters.kernel_count != before:
        return None
    fields = [returned] if isinstance(returned, Tensor) else returned
    made = [t for t in fields if t is not None and not t.uop.has_buffer_identity()]
    if not made:
        return None
    linear, bound = Tensor.linear_with_vars(*made)
    linear = link_linear(compile_linear(linear))
    # Also where it is no plain program: tinygrad takes all that it has scheduled for computed.
    run_linear(linear, bound, jit=True)
    if bound or (found := _plain_calls(linear)) is None:
        return None
    calls, written, held = found
    return Capture(calls, written, returned, [linear, *inputs, *held])


def _plain_calls(linear: UOp) -> tuple[tuple[Any, ...], dict[int, int], list[Any]] | None:
    calls, written, held = [], {}, []
    for call in linear.src:
        program, device = call.src[0], call.src[1].device
        if not (program.op is Ops.PROGRAM and isinstance(device, str) and in_memory(device)):
            return None
        info, uops = program.arg, get_call_arg_uops(call)
        if info.vars or info.global_size != (1, 1, 1) or not _are_plain(uops):
            return None
        buffers = [uop.buffer for uop in uops]
        for buffer in (buffers[i].base for i in info.outs):
            written[_address(buffer)] = buffer.nbytes
        runtime = get_runtime(device, program)
        used = [buffers[i] for i in info.globals]
        arguments = [Argument(_address(b.base), _address(b) - _address(b.base)) for b in used]
        calls.append((runtime.fxn, tuple(arguments)))
        held += [runtime, *used]
    return tuple(calls), written, held


def _are_plain(uops: Sequence[UOp]) -> bool:
    return all(isinstance(u.buffer, Buffer) for u in uops)


def _address(buffer: Buffer) -> int:
    return int(buffer.ensure_allocated().get_buf(buffer.device).va_addr)


def memory_of(tensor: Tensor) -> int:
    """The address of the memory that a realised Tensor of tinygrad's CPU device lies in."""
    return _address(tensor.uop.buffer.base)


class Replay:
    """Captures to run through, each with the memory that stands in place of what it saw."""

    def __init__(self, *captures: tuple[Capture, Mapping[int, int]], held: Any = None) -> None:
        self._held = [held, *(capture.held for capture, _ in captures)]
        self._calls = [
            (function, [c_uint64(moved.get(a.memory, a.memory) + a.offset) for a in arguments])
            for capture, moved in captures
            for function, arguments in capture.calls
        ]
        self._at_once = _at_once(self._calls)

    def __call__(self) -> None:
        """Call all programs, in order."""
        if self._at_once is not None:
            self._at_once()
            return
        for function, arguments in self._calls:
            function(*arguments)


def _at_once(calls: Sequence[tuple[Any, Sequence[c_uint64]]]) -> Callable[[], object] | None:
    """All calls as one; None where they are none of C, or a single one."""
    table = np.zeros((len(calls), 1 + MOST), np.uint64)
    if len(calls) < 2 or any(len(given) > MOST for _, given in calls) or not cpu.compiles_c("CPU"):
        return None
    try:
        for row, (function, given) in zip(table, calls, strict=True):
            row[0] = cast(function, c_void_p).value or 0
            row[1 : 1 + len(given)] = [argument.value for argument in given]
    except ArgumentError:
        return None
    flat = np.concatenate([np.array([len(calls)], np.uint64), table.reshape(-1)])
    program = _chain().calls[0][0]
    return lambda: program(c_uint64(flat.ctypes.data))


@cache
def _chain() -> Capture:
    """The program that calls what a table lists."""
    room = Path(__file__).with_name("c").joinpath(f"{C_ROOM}.c")
    library = f"#define MOST {MOST}\n#define WIDE\n{room.read_text(encoding='utf-8')}"

    def chain(table: Tensor) -> Any:
        body = "call_all((const number *)table);"
        return cpu.call("chain", library, body, {"table": table}, {})[0]

    with exclusive:
        found = capture(chain, wrap(np.zeros(2, np.int32), "CPU"))  # of no programs
    assert found is not None
    return found
