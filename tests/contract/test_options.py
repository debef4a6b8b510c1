"""Whole numbers: which values are, NumPy's among them, and how many are too many."""

import numpy as np
import pytest

import edifice_tt as et
from edifice_tt.contract.options import check_count, check_seed, whole
from edifice_tt.training.fit import FitOptions

NO_NUMBERS = [True, False, np.True_, 1.0, np.float32(1), "1", None, [1], 1j]


@pytest.mark.parametrize("value", [3, np.int8(3), np.uint64(3), np.array(3)], ids=repr)
def test_a_whole_number_is_an_int_whoever_made_it(value):
    assert (whole(value), type(whole(value))) == (3, int)
    assert type(check_count("n", value)) is type(check_seed(value)) is int


@pytest.mark.parametrize("value", NO_NUMBERS, ids=repr)
def test_what_is_no_whole_number_is_refused(value):
    assert whole(value) is None
    with pytest.raises(ValueError, match=r"n=.* must be a whole number, at least 1"):
        check_count("n", value)
    with pytest.raises(ValueError, match="must be a whole number from 0"):
        check_seed(value)


def test_more_than_can_be_meant_is_refused():
    assert check_count("n", 7, most=7) == 7
    with pytest.raises(ValueError, match="n=8 is too many; give at most 7"):
        check_count("n", 8, most=7)


def test_options_given_by_numpy_are_those_of_python(tmp_path):
    sizes = {"embed_dim": 6, "hidden_size": 8, "num_layers": 1, "num_heads": 2, "num_kv_heads": 1}
    given = {name: np.int64(size) for name, size in sizes.items()}
    model = et.build("test_time_compute", **given, seed=np.int64(5))
    assert model.config == et.build("test_time_compute", **sizes, seed=5).config
    assert {type(getattr(model.config, name)) for name in sizes} == {int}
    et.save(model, tmp_path / "model.safetensors")  # its configuration is JSON
    assert type(FitOptions(epochs=np.int16(3)).epochs) is int


def test_a_rule_that_draws_is_given_the_same_seed_by_numpy():
    pool = et.Pool("q", tuple(et.Candidate(i, str(i)) for i in range(97)), problem="p")
    chosen = [et.select(pool, "random", seed=seed).index for seed in (3, np.int64(3), 4)]
    assert chosen[0] == chosen[1] != chosen[2]


def test_more_problems_of_a_task_than_can_be_meant_are_refused():
    with pytest.raises(ValueError, match="num=100000000 is too many; give at most 1000000"):
        et.make_problems("longest-word", 10**8)
