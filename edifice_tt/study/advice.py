"""How many problems would show a small difference. Knows differences; no pool, no rule."""

from collections.abc import Sequence

from edifice_tt.study.intervals import problems_needed
from edifice_tt.study.records import Advice
from edifice_tt.study.statistics import Floats

_DIFFERENCE = 0.02  # in accuracy


def advice_on(differences: Sequence[Floats], level: float) -> Advice:
    """The number of problems for the pair whose difference varies most at the largest k."""
    last = [one[:, -1].round(12) for one in differences]
    if not last:
        return Advice(_DIFFERENCE, None, "there are no two rules to compare")
    if len(last[0]) == 1:
        return Advice(_DIFFERENCE, None, "a variance needs two problems, here is one")
    variance = round(max(float(one.var(ddof=1)) for one in last), 12)
    needed, reason = problems_needed(variance, _DIFFERENCE, level), None
    if not any(one.any() for one in last):
        reason = "the rules compared do not differ in any of these problems"
    elif needed is None:
        reason = "each difference is the same in all problems, so it has no variance"
    return Advice(_DIFFERENCE, needed, reason)
