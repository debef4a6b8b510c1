"""The scores that a rule may use: whose they are, and whether they are in its range."""

import math
from collections.abc import Mapping, Sequence

from edifice_tt.contract import registry
from edifice_tt.contract.errors import unknown_name
from edifice_tt.pools.candidates import Candidate


def declared_range(
    scorer: str, ranges: Mapping[str, str], scorers: Mapping[str, registry.Scorer]
) -> str | None:
    """The range that a scorer declares in the pool, else where it is installed; None if unknown."""
    if scorer in ranges or scorer not in scorers:
        return ranges.get(scorer)
    return scorers[scorer].range


# What to do instead, by what a rule needs and what the scorer declares.
_INSTEAD = {
    ("probability", "logit"): "use rule weighted_logit, or calibrate the scorer",
    ("probability", "unbounded"): "use rule best_of_n, which only compares scores, or majority",
    ("logit", "probability"): "use rule weighted",
    ("logit", "unbounded"): "use rule best_of_n, which only compares scores, or majority",
}
_PLURALS = {"probability": "probabilities", "logit": "logits"}


def check_range(record: registry.Selector, scorer: str, declared: str | None) -> None:
    """Raise `ValueError` when a rule cannot use scores of that declared range (None: not known).

    >>> check_range(registry.selector("weighted"), "prm", "logit")
    Traceback (most recent call last):
    ValueError: rule 'weighted' needs probabilities, but scorer 'prm' declares range='logit'; use \
rule weighted_logit, or calibrate the scorer
    """
    if record.needs is not None and declared not in (None, record.needs):
        raise ValueError(
            f"rule {record.name!r} needs {_PLURALS[record.needs]}, but scorer {scorer!r} declares "
            f"range={declared!r}; {_INSTEAD[record.needs, str(declared)]}"
            f"{_scorers_instead(scorer, record.needs)}"
        )


def _scorers_instead(scorer: str, needs: str) -> str:
    """The installed scorers that read the same and give what a rule needs; or nothing."""
    scorers = registry.load_registry().scorers
    if scorer not in scorers:
        return ""
    reads = scorers[scorer].reads
    fit = [name for name, one in scorers.items() if (one.reads, one.range) == (reads, needs)]
    return f"; scorer {' or '.join(fit)} gives {_PLURALS[needs]}" if fit else ""


def check_scores(rule: str, needs: str, candidates: Sequence[Candidate], scorer: str) -> None:
    """Raise `ValueError` for a candidate whose score is missing, not finite, or no probability."""
    who = f"rule {rule!r} needs {_PLURALS[needs]}"
    for candidate in sorted(candidates, key=lambda c: c.index):
        if scorer not in candidate.scores:
            raise ValueError(
                f"{who}, but candidate {candidate.index} has no score of {scorer!r}; score all of "
                f"the pool with {scorer!r} again"
            )
        score = candidate.scores[scorer]
        if not math.isfinite(score) or (needs == "probability" and not 0 <= score <= 1):
            expected = "within 0 and 1" if needs == "probability" else "a finite number"
            raise ValueError(
                f"{who}, but candidate {candidate.index} has {score} of {scorer!r}, expected "
                f"{expected}; use rule best_of_n, which only compares scores, or majority"
            )


def scorer_of(candidates: Sequence[Candidate], scorer: str | None) -> str:
    """The scorer whose scores to use: the named one, or the only one.

    Raises `UnknownNameError` for one that has scored no candidate, and `ValueError` when none is
    named and the candidates do not have scores of exactly one.
    """
    names = sorted({name for candidate in candidates for name in candidate.scores})
    if not names:
        whose = "" if scorer is None else f" of {scorer!r}"
        raise ValueError(
            f"the candidates have no scores{whose}; score them first: edifice_tt.score in Python, "
            "`edifice-tt score` on the command line"
        )
    if scorer is None and len(names) > 1:
        raise ValueError(
            f"say which scorer to use (scorer=..., --scorer); the candidates have scores of: "
            f"{', '.join(names)}"
        )
    if scorer is not None and scorer not in names:
        if (full := registry.load_registry().full_name(scorer)) in names:
            return full
        raise unknown_name("scorer in this pool", scorer, names)
    return scorer or names[0]
