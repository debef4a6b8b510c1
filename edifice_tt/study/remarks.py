"""What must be said beside a curve's figures, in sentences that every view shares. Plain text."""

from collections.abc import Iterator

from edifice_tt.study.records import Curve


def remarks(curve: Curve) -> Iterator[str]:
    """What may make the figures of a curve mean less than they seem to."""
    if curve.problems == 1:
        yield "One problem has no interval: it says nothing of others."
    for one in curve.left_out:
        given = "range unknown" if one.range is None else one.range
        yield (
            f"{one.rule} leaves out {one.scorer} ({given}): it needs scores that are {one.needs}."
        )


def advice(curve: Curve) -> str:
    """How many problems would tell the rules apart, or why that cannot be told."""
    points = f"{curve.advice.difference * 100:g} points"
    if curve.advice.problems is None:
        return f"How many problems show {points} cannot be told: {curve.advice.reason}."
    return (
        f"To see a difference of {points} between two rules takes about "
        f"{curve.advice.problems:,} problems; here are {curve.problems:,}."
    )
