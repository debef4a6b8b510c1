"""What a GPU is asked to draw, and where; what it draws is for tests/devices and rendering."""

import numpy as np
import pytest
from tinygrad import Device

from edifice_tt.nn.gpu import draws
from edifice_tt.nn.gpu.draws import Asked, filters_of, serves, words_of
from edifice_tt.nn.gpu.table import DRAWING
from edifice_tt.sampling.draws import Sampler, uniform


@pytest.mark.parametrize(
    ("dialect", "served"),
    [("cuda", True), ("opencl", True), ("opencl_cpu", False), (None, False)],
)
def test_gpus_draw_and_processors_do_not(monkeypatch, dialect, served):
    monkeypatch.setattr(draws.gpu, "dialect_of", lambda device: dialect)
    assert serves.__wrapped__("A", DRAWING.tokens) == served
    assert not serves.__wrapped__("A", DRAWING.tokens + 1)


def test_a_cpu_is_not_asked():
    assert not serves(Device.canonicalize("CPU"), 97)


@pytest.mark.parametrize(
    ("temperature", "served"), [(0, True), (1e-4, False), (1e-3, True), (1e6, True), (1e7, False)]
)
def test_temperatures_at_which_the_formula_tells_few_logits_apart_are_the_host_s(
    temperature, served
):
    assert Sampler(temperature).ask(0, 0).is_served == served


def test_a_filter_that_leaves_nothing_out_is_none():
    assert filters_of(Asked(1.0, 97, 1.0, 0.5), 97) == ()
    assert filters_of(Asked(1.0, 96, 1.0, 0.5), 97) == ("top_k",)
    assert filters_of(Asked(1.0, 0, 0.5, 0.5), 97) == ("top_p",)
    assert filters_of(Asked(0.0, 5, 0.5, 0.5), 97) == ()


def test_the_words_hold_every_bit_of_the_number():
    number = uniform(3, 5, 7)
    words = words_of({1: Sampler(0.7, 5, 0.9, 3).ask(5, 7)}, 3, 97)
    assert words[1, 6:8].copy().view(np.uint64)[0] == number * 2.0**64
    assert words[1, 2:4].copy().view(np.float64)[0] == pytest.approx(23.083120654223414 / 0.7)
    assert not words[[0, 2]].any()
