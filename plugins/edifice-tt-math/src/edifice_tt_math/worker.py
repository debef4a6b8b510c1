"""Runs math-verify as a separate process: one JSON line in, one out.

Knows sympy, and nothing of edifice_tt. It has no time limit: the parent ends the process.
"""

import json
import logging
import sys
from contextlib import suppress
from functools import lru_cache
from typing import Any
from zlib import crc32

import sympy
from math_verify import LatexExtractionConfig, parse, verify
from sympy import Basic, MatrixBase, Rational

MAX_DIGITS = 40
PLACES = 12  # relative error allowed between a decimal and an irrational number
MIN_BITS = 30  # precision of a value that counts as certain
MAX_BYTES = 4 * 2**30
_CONFIG = [LatexExtractionConfig(boxed_match_priority=-1)]


@lru_cache(maxsize=1024)
def _parse(answer: str) -> Any:
    """The sympy object of a LaTeX answer, or None."""
    # first_match: the whole answer or nothing, never a fraction found somewhere inside it.
    found = parse(f"${answer}$", _CONFIG, extraction_mode="first_match", parsing_timeout=None)
    return found[0] if found and isinstance(found[0], (Basic, MatrixBase)) else None


def rational(answer: str) -> str | None:
    """The exact value as `p/q`, or None for what is not a rational number of a printable size."""
    value = _parse(answer)
    value = value.doit() if isinstance(value, Basic) else None
    if isinstance(value, sympy.Float):  # read from decimals, so its decimals are what was written
        value = Rational(str(value))
    if not isinstance(value, Rational):
        return None
    text = f"{value.p}/{value.q}"
    return text if len(text) <= MAX_DIGITS else None


def _at_a_point(value: sympy.Expr) -> Any:
    """The value with fixed numbers in place of the symbols; None if it has none."""
    names = {symbol: symbol.name for symbol in value.free_symbols}
    point = {s: Rational(1, 2) + Rational(crc32(n.encode()) % 9973, 9973) for s, n in names.items()}
    point |= {symbol: sympy.I for symbol in point if symbol.name == "i"}
    try:
        found = value.evalf(subs=point)
    except Exception:  # a function without a value, an infinity, ...
        return None
    return found if found.is_number and found.is_finite else None


@lru_cache(maxsize=1024)
def _sample(answer: str) -> Any:
    value = _parse(answer)
    if not isinstance(value, sympy.Expr) or isinstance(value, sympy.Symbol):
        return None
    return _at_a_point(value)


def _is_certain(value: Any) -> bool:
    """Whether the digits of a value are right; sympy gives few bits to a cancelled value."""
    return value is not None and all(x._prec >= MIN_BITS for x in value.atoms(sympy.Float))


def _differ(first: str, second: str) -> bool:
    """Whether the values at a point differ clearly, or certainly by however little.

    A small difference to written decimals may be rounding, so there only a clear one counts.
    """
    x, y = _sample(first), _sample(second)
    if x is None or y is None:
        return False
    distance, sizes = abs(x - y) * 10**6, (1, abs(x), abs(y))
    if all(bool(distance > size) for size in sizes):
        return True
    a, b = _parse(first), _parse(second)
    if a.has(sympy.Float) or b.has(sympy.Float):
        return False
    difference = _at_a_point(a - b)
    return _is_certain(difference) and bool(difference != 0)


def equal(first: str, second: str) -> bool:
    """Whether math-verify takes the two for equal; symmetric, unlike its `verify`."""
    a, b = _parse(first), _parse(second)
    if a is None or b is None:
        return False
    pairs = ((a, b), (b, a))
    for this, other in pairs:  # (1, 2) is not {1, 2}, though math-verify takes them for equal
        if isinstance(this, sympy.FiniteSet) and isinstance(other, (sympy.Tuple, sympy.Interval)):
            return False
    if _differ(first, second):
        return False  # values that differ at a point prove inequality, much faster than simplifying
    return any(verify(*pair, float_rounding=PLACES, timeout_seconds=None) for pair in pairs)


def main() -> None:
    questions = {"rational": rational, "equal": equal}
    logging.disable()  # math-verify warns that it has no time limit
    with suppress(ImportError, ValueError, OSError):  # elsewhere only the time limit bounds it
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MAX_BYTES, MAX_BYTES))
    equal(r"(1,\frac{x}{2})", "(1,x/2)")  # the first question loads tables for a second
    print(json.dumps("ready"), flush=True)
    for line in sys.stdin:
        question, *arguments = json.loads(line)
        try:
            result = questions[question](*arguments)
        except Exception:  # sympy may raise anything on strange input
            result = None
        print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
