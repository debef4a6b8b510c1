"""The caveats to a curve's figures, as plain sentences that every view shares."""

from collections.abc import Iterator

from edifice_tt.contract.wording import counted, cut_off_of
from edifice_tt.study.beside import Beside
from edifice_tt.study.records import Curve, Unfinished

_FEW = 10  # candidates, right or wrong, below which nothing is said of a scorer
_SEEN = "how it does there says nothing about new ones."


def remarks(curve: Curve) -> Iterator[str]:
    """The caveats to the figures of a curve."""
    if curve.graded is not None:
        yield f"Graded with: {curve.graded}."
    if curve.unfinished is not None:
        total = curve.problems + (0 if curve.unfinished.used else curve.unfinished.problems)
        yield unfinished_of(curve.unfinished, total) + "."
    yield from _cut_off(curve)
    for scorer in curve.scorers:
        if scorer.trained_on:
            yield f"{scorer.scorer} {trained_on(curve, scorer.scorer)}: {_SEEN}"
    if curve.problems == 1:
        yield "One problem has no interval: it says nothing of others."
    yield from _few_right(curve)
    yield from _alike(curve)
    for one in curve.left_out:
        range_ = "range unknown" if one.range is None else one.range
        yield (
            f"{one.rule} leaves out {one.scorer} ({range_}): it needs scores that are {one.needs}."
        )


def _few_right(curve: Curve) -> Iterator[str]:
    """That the quality of scorers rests on few candidates of one kind."""
    for one in curve.scorers[:1]:
        kinds = {"right": sum(one.histogram.right), "wrong": sum(one.histogram.wrong)}
        kind, few = min(kinds.items(), key=lambda kind: kind[1])
        if few < _FEW:
            many = counted(few, f"{kind} candidate")
            are = "is" if few == 1 else "are"
            yield f"Here {are} {many}: too few to tell how good a scorer is."


def _alike(curve: Curve) -> Iterator[str]:
    """Which scorers choose alike at every k, so that their lines lie on each other."""
    alike: dict[tuple[str, tuple[float, ...]], list[str]] = {}
    for rule in curve.rules:
        if rule.scorer is not None:
            alike.setdefault((rule.rule, rule.accuracy), []).append(rule.scorer)
    for (name, _), scorers in alike.items():
        if len(scorers) > 1:
            names = " as with ".join(scorers)
            yield f"{name} is as often right with {names}: one line hides another."


def abstaining(curve: Curve) -> str:
    """How many candidates abstain in votes, and why; or nothing."""
    if (cut := curve.cut_off) is None or cut.votes == "vote":
        many = f"{curve.abstentions:,} of {counted(curve.candidates, 'candidate')}"
        return f"{many} have no answer: they abstain." if curve.abstentions else ""
    others = curve.abstentions - cut.without_answer
    many = f"{cut.candidates + others:,} of {counted(curve.candidates, 'candidate')}"
    return f"{many} abstain in votes: {cut.candidates:,} cut off, {others:,} without an answer."


def _cut_off(curve: Curve) -> Iterator[str]:
    """How many answers were cut off, what they are worth, and what they would change."""
    if (cut := curve.cut_off) is None:
        return
    yield cut_off_of(cut.candidates, curve.candidates, curve.settings.get("max_tokens")) + (
        f" Right are {cut.right:,} of these, and {cut.finished_right:,} of the other "
        f"{cut.finished:,}."
    )
    shown = {rule.label: rule.accuracy[-1] for rule in curve.rules}
    both = ", ".join(
        f"{one.label} {shown[one.label]:.3f} ({one.accuracy[-1]:.3f})" for one in cut.others
    )
    does, else_ = ("vote", "abstain") if cut.votes == "vote" else ("abstain", "vote")
    if both:
        yield (
            f"In votes they {does}. Accuracy with {counted(curve.ks[-1], 'candidate')}, and in "
            f"brackets if they could {else_}: {both}."
        )


def unfinished_of(some: Unfinished, total: int) -> str:
    """How many of `total` problems are unfinished, and the effect of that."""
    many = f"{some.problems:,} of {total:,} problems {'is' if some.problems == 1 else 'are'}"
    does = (
        "those that end first are the short ones, so figures may be off"
        if some.used
        else "--unfinished use takes them as they are, yet those that end first are the short ones"
    )
    return (
        f"{many} unfinished{'' if some.used else ' and left out'}: {has_some_of(some)}; --resume "
        f"makes the others; {does}{first_of_each(some.first_of_each)}"
    )


def first_of_each(count: int) -> str:
    """How to use the first candidates that every problem has; empty where there are none."""
    if not count:
        return ""
    have = f"every problem has its first {counted(count, 'candidate')}"
    return f"; {have}, which --first {count} takes (pool[:{count}] in Python)"


def has_some_of(some: Unfinished) -> str:
    """How many candidates the first unfinished problem has."""
    return f"problem {some.first!r} has {some.candidates:,} of {some.n:,} candidates"


def trained_on(curve: Curve, scorer: str | None) -> str:
    """On how many of these problems a scorer was trained; empty for none."""
    count = curve.trained_on(scorer)
    many = counted(curve.problems, "problem")
    return f"was trained on {count:,} of these {many}" if count else ""


def none_is_better(curve: Curve) -> str:
    """That no rule is shown to be better than the one they are compared with; or nothing."""
    last = [one for one in curve.comparisons if one.k == curve.ks[-1]]
    if not last or any(one.low is None or one.low > 0 for one in last):
        return ""
    return (
        f"No rule is shown to be better than {last[0].against} with "
        f"{counted(curve.ks[-1], 'candidate')}: no {curve.level:.0%} interval of a difference lies "
        "above 0. The best of several is picked on these same problems."
    )


def advice(curve: Curve) -> str:
    """How many problems would tell the rules apart, or why that is unknown."""
    points = f"{curve.advice.difference * 100:g} points"
    if curve.advice.problems is None:
        return f"How many problems show {points} cannot be told: {curve.advice.reason}."
    return (
        f"To see a difference of {points} between two rules takes about "
        f"{curve.advice.problems:,} problems; here are {curve.problems:,}."
    )


def judged(one: Beside) -> str:
    """Whether the tokens of a search beside plain sampling are those of a judge as well."""
    if one.judge is None:
        return (
            "Tokens are without those of the judge: the plain pool does not tell what it has "
            "read; score it again for that."
        )
    if not one.judge:
        return ""
    return f"Tokens are with those that the judge read: {one.judge:,.0f} per problem of the search."
