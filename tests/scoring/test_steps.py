"""Steps to one number, by hand."""

import pytest

from edifice_tt.contract.errors import UnknownNameError
from edifice_tt.scoring.steps import reduce_steps

STEPS = (0.5, 0.25, 1.0, 0.75, 0.5)


@pytest.mark.parametrize(
    ("how", "expected"),
    [("last", 0.5), ("min", 0.25), ("max", 1.0), ("mean", 0.6), ("product", 0.046875)],
)
def test_each_reduction_is_what_its_name_says(how, expected):
    assert reduce_steps(STEPS, how) == expected
    assert reduce_steps([0.25], how) == 0.25


def test_the_last_step_is_not_the_first():
    assert reduce_steps((0.25, 0.5, 0.75), "last") == 0.75


def test_unless_told_otherwise_the_last_step_counts():
    assert reduce_steps((0.25, 0.5, 0.75)) == 0.75


def test_the_mean_of_many_equal_steps_stays_within_their_range():
    """0.1 added ten times is not 1.0."""
    assert reduce_steps([0.1] * 10, "mean") == 0.1
    assert reduce_steps([1.0] * 997, "mean") == 1.0


def test_logits_may_be_negative():
    steps = (-3.0, 2.0, -5.0)
    found = [reduce_steps(steps, how) for how in ("last", "min", "max", "mean")]
    assert found == [-5.0, -5.0, 2.0, -2.0]


def test_an_unknown_reduction_names_the_nearest():
    with pytest.raises(UnknownNameError) as caught:
        reduce_steps(STEPS, "prodct")
    assert str(caught.value) == (
        "unknown reduction of steps 'prodct'; did you mean 'product'? "
        "Known: last, max, mean, min, product"
    )


@pytest.mark.parametrize("how", ["last", "min", "max", "mean", "product"])
def test_no_steps_are_an_error_and_not_a_number(how):
    with pytest.raises(ValueError, match="there are no steps to reduce"):
        reduce_steps((), how)
