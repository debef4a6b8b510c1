"""Renders a report as one self-contained HTML page. Knows the records; reads no pool file.

All texts from a pool go into one JSON block that they cannot end; the page's script inserts them as
text. The page's content policy allows its own style and script by their hashes, and no connections.
"""

import base64
import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from html import escape
from importlib.resources import files
from typing import Any

from edifice_tt.pools.pool import Pool, PoolFile
from edifice_tt.study.beside import Beside
from edifice_tt.study.records import Curve
from edifice_tt.study.report import searches as search_section
from edifice_tt.study.report import sections
from edifice_tt.study.report.charts import accuracy_chart
from edifice_tt.study.report.problems import collect
from edifice_tt.version import __version__


def render_report(
    curve: Curve,
    pools: Iterable[Pool],
    *,
    answer: str | None = None,
    everything: bool = False,
    searches: Sequence[tuple[Beside, PoolFile]] = (),
) -> bytes:
    """Render a curve and its pools as an HTML page in UTF-8.

    `pools` may be a stream, read only as far as it is shown. `answer` names the extractor of the
    curve. `searches` stand beside it, and a problem shows the tree of each. The same curve and
    pools give the same bytes.
    """
    besides = [beside for beside, _ in searches]
    trees = [(search_section.named(beside), file) for beside, file in searches]
    listing = collect(pools, curve, answer, everything, trees)
    style, script = _own("page.css"), _own("page.js")
    data = {
        "curve": curve.to_dict(),
        "choices": listing.choices,
        "scorers": [one.scorer for one in curve.scorers],
        "problems": listing.problems,
        "searches": [beside.to_dict() for beside in besides],
    }
    parts = {
        "policy": f"default-src 'none'; style-src {_hash(style)}; script-src {_hash(script)}; "
        "base-uri 'none'; form-action 'none'",
        "style": style,
        "script": script,
        "data": _embed(data),
        "pool": escape(curve.pool),
        "charts": accuracy_chart(curve, True) + accuracy_chart(curve, False),
        "searches": search_section.section(curve, besides),
        "left_out": sections.left_out(listing),
        "version": escape(__version__),
        **{section.__name__: "".join(section(curve)) for section in sections.OF_A_CURVE},
    }
    page = re.sub(r"<!--(\w+)-->|@(policy)@", lambda m: parts[m[1] or m[2]], _own("page.html"))
    return page.encode("utf-8", "replace")  # a JSON escape may give a lone surrogate


def _own(name: str) -> str:
    return (files("edifice_tt.study.report") / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _embed(data: Any) -> str:
    """JSON that can neither end its script element nor begin a comment in it."""
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")
