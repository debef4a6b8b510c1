"""Arguments of another kind than expected, told in one line. Knows pools by their fields alone."""

import os
from collections.abc import Callable, Iterable, Sequence
from typing import Any

_FILE = "read its pools with edifice_tt.read_pools"


def check_pool(pool: Any, several: str = "give one pool at a time") -> None:
    """Raise `ValueError` unless it is one pool; `several` says what to do with a list of them."""
    if _is_pool(pool):
        return
    many = isinstance(pool, Iterable) and not isinstance(pool, str)
    advice = several if many else _FILE if _is_path(pool) else "give a pool"
    raise ValueError(f"pool={pool!r:.60} must be one Pool; {advice}")


def check_pools(pools: Any) -> Any:
    """The pools, of a stream each when it comes. Raises `ValueError` for anything but pools."""
    return _each("pools", pools, _is_pool, "Pool", _FILE)


def check_problems(problems: Any) -> Any:
    """The problems, likewise."""
    advice = 'give [edifice_tt.Problem("What is 2 + 2?")], or edifice_tt.read_problems(path)'
    return _each("problems", problems, _is_problem, "Problem", advice)


def check_candidates(candidates: Any) -> None:
    """Raise `ValueError` unless they are candidates of one problem: a pool, or a sequence."""
    if _is_pool(candidates):
        return
    if not isinstance(candidates, Sequence) or isinstance(candidates, str):
        raise ValueError(f"pool={candidates!r:.60} must be a Pool, or a list of Candidates")
    for one in candidates:
        if not _is_candidate(one):
            advice = "give one pool at a time" if _is_pool(one) else "give edifice_tt.Candidate"
            raise ValueError(f"{one!r:.60} must be a Candidate; {advice}")


def check_path(path: Any, usage: str) -> None:
    """Raise `ValueError` unless it can be the path of a file; `usage` shows the right order."""
    if not _is_path(path):
        raise ValueError(f"path={path!r:.60} must be the path of a file: {usage}")


def check_model(lm: Any) -> None:
    """Raise `ValueError` for a pool, or several, in place of the model."""
    if _is_pool(lm) or isinstance(lm, list | tuple):
        raise ValueError(
            f"the model comes first, given a {type(lm).__name__}; give lm=None where no model is "
            "needed, as in edifice_tt.score(None, pool, scorer)"
        )


def check_writer(lm: Any) -> None:
    """Raise `ValueError` for what is no language model."""
    if not hasattr(lm, "tokenizer") or not hasattr(lm, "device"):
        raise ValueError(
            f"lm={lm!r:.60} must be a language model; load one with edifice_tt.load_pretrained"
        )


def _each(name: str, given: Any, right: Callable[[Any], bool], kind: str, advice: str) -> Any:
    if right(given):
        raise ValueError(f"{name}={given!r:.60} must be a list of {kind}s; put it into one: [...]")
    if _is_path(given) or not isinstance(given, Iterable):
        raise ValueError(f"{name}={given!r:.60} must be a list of {kind}s; {advice}")

    def checked(one: Any) -> Any:
        if not right(one):
            raise ValueError(f"{name} hold {one!r:.60}, expected a {kind} each; {advice}")
        return one

    # A stream stays one, and a file of pools is read by its own means.
    return [*map(checked, given)] if isinstance(given, list | tuple) else map(checked, given)


def _is_pool(value: Any) -> bool:
    return hasattr(value, "candidates") and hasattr(value, "problem")


def _is_problem(value: Any) -> bool:
    return hasattr(value, "prompt") and hasattr(value, "problem")


def _is_candidate(value: Any) -> bool:
    return hasattr(value, "text") and hasattr(value, "scores")


def _is_path(value: Any) -> bool:
    return isinstance(value, str | os.PathLike)
