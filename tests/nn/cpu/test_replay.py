"""Programs called by their addresses: what tinygrad does, in other memory, one after the other."""

import numpy as np
import pytest
from tinygrad import Tensor

from edifice_tt.nn import ops
from edifice_tt.nn.buffers import view, wrap
from edifice_tt.nn.cpu.replay import MOST, Replay, capture, memory_of


def numbers(*shape):
    return wrap(np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float32), "CPU")


@pytest.fixture(scope="module")
def dense():
    """Two dense layers, x (3, 5) -> (3, 7) -> (3, 2), as they were captured, and their Tensors."""
    x, first, second = numbers(3, 5), numbers(7, 5), numbers(2, 7)
    found = capture(lambda x: ops.linear(ops.linear(x, first), second), x)
    return found, x, first, second


def formula(x, first, second):
    return view(x) @ view(first).T @ view(second).T


def test_it_reads_its_input_anew_each_time(dense):
    found, x, first, second = dense
    replay = Replay((found, {}))
    for _ in range(2):
        view(x)[:] += 1
        replay()
        assert view(found.returned) == pytest.approx(formula(x, first, second), abs=1e-5)


def test_other_memory_stands_in_place_of_what_was_captured(dense):
    found, x, first, second = dense
    Replay((found, {}))()
    before = view(found.returned).copy()
    others = [numbers(3, 5), numbers(7, 5), numbers(2, 7), numbers(3, 2)]
    for other in others:
        view(other)[:] -= 0.5
    saw = [x, first, second, found.returned]
    moved = {memory_of(a): memory_of(b) for a, b in zip(saw, others, strict=True)}
    Replay((found, moved))()
    assert view(others[3]) == pytest.approx(formula(*others[:3]), abs=1e-5)
    assert (view(found.returned) == before).all()


def test_in_one_call_and_in_one_each_it_computes_the_same(dense):
    found, *_ = dense
    results = []
    for at_once in (True, False):
        moved = {memory_of(found.returned): memory_of(out := numbers(3, 2))}
        replay = Replay((found, moved))
        assert replay._at_once is not None
        replay._at_once = replay._at_once if at_once else None
        replay()
        results.append(view(out).tobytes())
    assert results[0] == results[1] != numbers(3, 2).numpy().tobytes()


def test_programs_of_more_arguments_than_one_call_has_room_for_are_called_each(dense):
    found, *_ = dense
    function, given = found.calls[0]
    for count in (MOST, MOST + 1):
        wide = function, (given * MOST)[:count]
        replay = Replay((found._replace(calls=(wide, wide)), {}))
        assert (replay._at_once is None) == (count > MOST)


def test_what_it_writes_is_known_with_its_size(dense):
    found, *_ = dense
    assert found.written[memory_of(found.returned)] == 3 * 2 * 4
    assert len(found.calls) == 2


def test_what_is_no_plain_program_is_not_captured():
    array = np.ones((3, 5), np.float32)
    assert capture(lambda x: (x + Tensor(array)).contiguous(), numbers(3, 5)) is None
