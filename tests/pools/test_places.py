"""A pool is read by place: one candidate, or a pool of some."""

import numpy as np
import pytest

import edifice_tt as et

POOL = et.Pool(
    "p",
    tuple(et.Candidate(i, f"{i}", scores={"judge": i / 7}) for i in range(7)),
    {"n": 7, "seed": 3},
    "p1",
    "4",
    {"judge": "probability"},
)


def test_a_place_is_its_candidate():
    assert POOL[0] is POOL.candidates[0]
    assert POOL[-1] is POOL[np.int64(6)] is POOL.candidates[6]
    with pytest.raises(IndexError):
        POOL[7]
    with pytest.raises(TypeError):
        POOL["p1"]


@pytest.mark.parametrize("some", [slice(3), slice(2, 5), slice(None, None, -2), slice(7, 9)])
def test_a_slice_is_a_pool_of_these_candidates(some):
    part = POOL[some]
    assert part.candidates == POOL.candidates[some]
    assert (part.prompt, part.problem, part.gold, part.ranges) == ("p", "p1", "4", POOL.ranges)
    assert part.settings == {"seed": 3}


def test_nothing_is_missing_in_a_slice(recwarn):
    assert POOL[:3].num_missing == 0
    assert et.select(POOL[:3]).index == 2
    assert not recwarn.list
