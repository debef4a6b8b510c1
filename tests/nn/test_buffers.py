"""Where weights come to lie."""

import mmap
from collections import OrderedDict
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from tinygrad import Device, Tensor
from tinygrad.helpers import GlobalCounters
from tinygrad.nn.state import get_parameters

import edifice_tt as et
from edifice_tt.nn.buffers import (
    CACHE_LINE,
    buffers_of,
    give_back,
    numbers,
    place,
    unfilled,
    view,
    wrap,
    zeros,
)
from edifice_tt.nn.cpu.replay import memory_of


class Head:
    def __init__(self, array):
        self.weight = Tensor(array)


class Nest(NamedTuple):
    heads: list
    by_name: dict


def test_the_buffers_of_a_model_are_those_of_its_parameters_in_their_order():
    """Wherever tinygrad looks for weights, and nowhere else."""
    one, two, three, four = (Head(np.full(3, i, np.float32)) for i in range(4))
    two.config, two.names = object(), ("a", 1, None)
    model = Nest([one, (two, {3: three})], OrderedDict(last=four, again=one.weight))
    assert buffers_of(model) == [weight.uop for weight in get_parameters(model)]
    assert len(buffers_of(model)) == 5
    three.weight = Tensor(np.ones(3, np.float32))
    assert buffers_of(model)[2] is three.weight.uop


def test_building_a_model_runs_no_kernel():
    et.build("test_time_compute", embed_dim=7, hidden_size=8, num_layers=1, seed=0)
    before = GlobalCounters.kernel_count
    model = et.build("test_time_compute", embed_dim=7, hidden_size=8, num_layers=1, seed=0)
    assert GlobalCounters.kernel_count == before
    assert all(weight.uop.is_realized for weight in get_parameters(model))


def test_a_weight_does_not_share_the_memory_of_the_array_it_was_made_from():
    """Two models may be made from one array, and one of them trained."""
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    heads = [place(Head(array), "CPU") for _ in range(2)]
    view(heads[0].weight)[:] = 9
    assert heads[1].weight.tolist() == array.tolist() == [[0, 1, 2], [3, 4, 5]]


def test_weights_begin_where_a_cache_line_does():
    """By chance one array in four does; here are ten."""
    model = et.build("test_time_compute", embed_dim=7, hidden_size=8, num_layers=1, seed=0)
    weights = get_parameters(model)
    assert len(weights) >= 10
    assert [memory_of(weight) % CACHE_LINE for weight in weights] == [0] * len(weights)


@pytest.mark.parametrize(
    ("shape", "dtype"), [((2, 3, 5), np.float32), ((7,), np.uint8), ((3, 1), "i4")]
)
def test_zeros_are_an_array_like_any_other(shape, dtype):
    arrays = [zeros(*shape, dtype=dtype) for _ in range(5)]
    for i, array in enumerate(arrays):
        assert (array.shape, array.dtype) == (shape, np.dtype(dtype))
        assert array.ctypes.data % CACHE_LINE == 0
        assert not array.any()
        array[...] = i + 1
    assert all((array == i + 1).all() for i, array in enumerate(arrays))


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is told on Linux")
def test_large_zeros_take_the_memory_that_is_written_to():
    """Also where the heap has such memory to give out again, which it would clear."""

    def pages():
        return int(Path("/proc/self/statm").read_text().split()[1])

    size, count = 1 << 20, 61
    given_back = [np.ones(size, np.uint8) for _ in range(count)]
    del given_back[::2]  # the heap keeps what lies between others
    before = pages()
    arrays = [zeros(size, dtype=np.uint8) for _ in range(count)]
    assert pages() - before < count * size / mmap.PAGESIZE / 10
    for array in arrays:
        array[:] = 1
    assert pages() - before > count * size / mmap.PAGESIZE / 2
    before = pages()
    del arrays, array
    assert before - pages() > count * size / mmap.PAGESIZE / 2


def test_a_weight_that_lies_on_the_device_stays_where_it_is():
    array = np.ones((2, 3), np.float32)
    head = place(Head(array), "CPU")
    uop = head.weight.uop
    assert place(head, "CPU").weight.uop is uop


@pytest.mark.parametrize(
    "tensor",
    [
        lambda array: Tensor(array),
        lambda array: Tensor(array).realize(),
        lambda array: wrap(array, "CPU"),
        lambda array: Tensor(array[::-1])[::-1].contiguous().realize(),
    ],
    ids=["unrealised", "realised", "wrapped", "computed"],
)
def test_numbers_are_those_of_the_tensor(tensor):
    array = np.arange(6, dtype=np.int32).reshape(2, 3)
    assert (numbers(tensor(array)) == array).all()


@pytest.mark.parametrize(
    "tensor",
    [lambda: Tensor.ones(2, 3), lambda: Tensor(np.ones((2, 3))).flip(0), lambda: Tensor([1.0]) + 1],
    ids=["constant", "view", "sum"],
)
def test_what_must_be_computed_has_no_numbers_yet(tensor):
    assert numbers(tensor()) is None


def test_an_unfilled_weight_has_its_shape_and_no_memory():
    weight = unfilled(3, 5)
    assert weight.shape == (3, 5)
    assert not weight.uop.is_realized


def test_what_is_freed_while_freed_memory_is_given_back_disturbs_nothing(monkeypatch):
    """As when Python collects a model that was dropped while another is loaded."""
    allocator = Device["CPU"].allocator
    free, given_back = allocator._free, []

    def free_and_more(opaque, options):
        given_back.append(opaque)
        allocator.cache[4_000_037 + len(given_back), None].clear()  # another size is noted
        free(opaque, options)

    give_back("CPU")
    Tensor.ones(1_000_003, device="CPU").contiguous().realize()
    Tensor.ones(1_000_033, device="CPU").contiguous().realize()
    monkeypatch.setattr(allocator, "_free", free_and_more)
    give_back("CPU")
    assert len(given_back) >= 2
    assert not any(allocator.cache.values())
