"""The JSON of `edifice-tt curve --json`, checked before anything is drawn. Knows no figure."""

import json
from itertools import pairwise
from typing import Any

SCHEMA = 1

# The fields that are drawn: a dict names its fields, a list its items, (None, x) is x or null.
MAYBE = (None, float)
SHAPE = {
    "pool": str,
    "problems": int,
    "candidates": int,
    "level": float,
    "ks": [int],
    "rules": [
        {
            "label": str,
            "rule": str,
            "scorer": (None, str),
            "accuracy": [MAYBE],
            "low": [MAYBE],
            "high": [MAYBE],
        }
    ],
    "cost": {"tokens_per_candidate": MAYBE, "seconds_per_candidate": MAYBE},
    "forecast": (None, {"ks": [int], "coverage": [MAYBE]}),
    "scorers": [
        {
            "scorer": str,
            "auroc_pooled": MAYBE,
            "ece": MAYBE,
            "reliability": [
                {"low": float, "high": float, "count": int, "mean_score": MAYBE, "accuracy": MAYBE}
            ],
            "histogram": {"edges": [float], "right": [int], "wrong": [int]},
        }
    ],
}
NAMES = {dict: "an object", list: "a list", str: "a text", int: "a whole number", float: "a number"}


def read_curve(data: bytes, source: str) -> dict[str, Any]:
    """The curve in `data`; `source` names it in errors.

    Raises `ValueError` for anything but JSON of a schema-1 curve with all drawn fields.
    """
    try:
        curve = json.loads(data)
    except (ValueError, RecursionError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else error
        raise ValueError(f"{source}: not JSON ({reason}); {_DO}") from None
    if not isinstance(curve, dict) or curve.get("kind") != "curve":
        kind = curve.get("kind") if isinstance(curve, dict) else None
        raise ValueError(f"{source}: not a curve: kind is {kind!r:.40}, expected 'curve'; {_DO}")
    if curve.get("schema") != SCHEMA:
        raise ValueError(
            f"{source}: schema is {curve.get('schema')!r:.40}, expected {SCHEMA}; "
            "use the edifice-tt-plots of the edifice-tt that wrote it"
        )
    try:
        _check(curve, SHAPE, "")
        _check_sizes(curve)
    except _Mismatch as error:
        raise ValueError(f"{source}: {error}; {_DO}") from None
    return curve


_DO = "make one with edifice-tt curve POOL --json"


class _Mismatch(Exception):
    pass


def _check(value: Any, shape: Any, where: str) -> None:
    if isinstance(shape, tuple):
        if value is None:
            return
        shape = shape[1]
    kind = shape if isinstance(shape, type) else type(shape)
    fits = isinstance(value, (int, float) if kind is float else kind)
    if not fits or (kind in (int, float) and (value is True or value is False)):
        raise _Mismatch(f"{where} is {value!r:.40}, expected {NAMES[kind]}")
    if kind in (int, float) and not abs(value) < 1e300:
        raise _Mismatch(f"{where} is {value!r:.40}, expected a finite number")
    if isinstance(shape, dict):
        for name, inner in shape.items():
            if name not in value:
                raise _Mismatch(f"{where or 'the curve'} has no {name!r}")
            _check(value[name], inner, f"{where}.{name}".lstrip("."))
    elif isinstance(shape, list):
        for i, item in enumerate(value):
            _check(item, shape[0], f"{where}[{i}]")


def _check_sizes(curve: dict[str, Any]) -> None:
    forecast = curve["forecast"] or {"ks": [1], "coverage": [0]}
    for name, ks in (("ks", curve["ks"]), ("forecast.ks", forecast["ks"])):
        if not ks or ks[0] < 1 or any(a >= b for a, b in pairwise(ks)):
            raise _Mismatch(f"{name} is {ks!r:.40}, expected increasing numbers from 1 on")
    if not curve["rules"]:
        raise _Mismatch("rules is empty, expected at least one")
    sizes = [
        (f"rules[{i}].{name}", rule[name], len(curve["ks"]))
        for i, rule in enumerate(curve["rules"])
        for name in ("accuracy", "low", "high")
    ]
    sizes.append(("forecast.coverage", forecast["coverage"], len(forecast["ks"])))
    for i, scorer in enumerate(curve["scorers"]):
        edges = scorer["histogram"]["edges"]
        if any(a >= b for a, b in pairwise(edges)):
            raise _Mismatch(f"scorers[{i}].histogram.edges do not increase")
        for name in ("right", "wrong"):
            counts = scorer["histogram"][name]
            sizes.append((f"scorers[{i}].histogram.{name}", counts, max(len(edges) - 1, 0)))
    for name, values, size in sizes:
        if len(values) != size:
            raise _Mismatch(f"{name} has {len(values)} items, expected {size}")
