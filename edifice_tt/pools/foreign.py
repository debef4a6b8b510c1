"""Candidates of other programs -> pools. Knows our own shapes; writes nothing."""

import os
import warnings
from collections.abc import Iterator
from dataclasses import replace
from itertools import chain
from typing import Any

from edifice_tt.contract.errors import PoolWarning
from edifice_tt.contract.records import RANGES
from edifice_tt.pools.foreign_fields import Names
from edifice_tt.pools.foreign_shapes import Samples, answer_of, pool_of
from edifice_tt.pools.foreign_table import Table
from edifice_tt.pools.inspect_logs import is_log, read_log
from edifice_tt.pools.pool import Pool
from edifice_tt.pools.rows import read_each


def import_pools(
    source: str | os.PathLike[str],
    *,
    scorer: str = "score",
    range: str | None = None,
    model: str | None = None,
    prompt_field: str | None = None,
    gold_field: str | None = None,
    problem_field: str | None = None,
    completions_field: str | None = None,
    scores_field: str | None = None,
    correct_field: str | None = None,
) -> Iterator[Pool]:
    """Read candidates that others sampled, one problem per line, as a stream of pools.

    Two shapes: `{"problem", "prompt", "messages", "gold", "candidates": [{"text", "answer",
    "correct", "score", "num_tokens"}]}` and the same with `"completions": [text, ...]` in place of
    candidates. All but the candidates may be omitted; `answer` is used if `gold` is missing.
    `messages` is the chat of the prompt. `scorer` and `range` name the scorer of the scores and its
    declared range. Unknown fields are dropped with one `PoolWarning`.

    Data sets have a row per problem, with lists: `completions`, `responses` or `generations`, and
    `scores`, `correct` or `is_correct`. Or they have a row per candidate, as `export_pools` writes
    them, or with the text in the `completions_field`. The `..._field` say what fields are called.
    A folder is one that `save_to_disk` of Hugging Face's datasets wrote.
    Scores that are lists are those of steps, and the last of them is the score.

    Two shapes of others: answers of OpenAI-compatible servers with their `choices`, alone or in the
    lines of a batch; and samples that lm-eval logged, with their `resps`.
    Logs of Inspect, `.json` or `.eval`, are known by how they begin: an epoch is a candidate,
    and their scorers keep their names. `scorer` may be the one of them that says what is right.
    Raises `CheckpointError` with file and line number for a line of another shape.
    """
    if range is not None and range not in RANGES:
        raise ValueError(f"range={range!r} must be one of {', '.join(RANGES)}")
    fields = (prompt_field, gold_field, problem_field, completions_field, scores_field)
    names = Names(*fields, correct_field)
    if is_log(source):
        if names.given():
            raise ValueError(f"{source} is a log of Inspect, whose fields are known; name none")
        yield from read_log(source, scorer, range, model)
        return
    settings = {} if model is None else {"model": model}
    samples, table = Samples(), Table(names, scorer, range)

    def read(record: dict[str, Any], place: int) -> Pool | None:
        if not names.given():
            if "resps" in record and not samples.take(record):
                return None
            if answer := answer_of(record):
                return pool_of(record, answer, place)
        return table.read(record, place)

    for pool in chain(read_each(source, read), table.finish()):
        if pool is not None:
            yield replace(pool, settings=settings)
    if table.left_out:
        told = "fields that a pool does not hold were left out"
        warnings.warn(f"{source}: {told}: {', '.join(table.left_out)}", PoolWarning, stacklevel=2)
    if table.asked_by_id:
        told = "problems have no question, and ids with blanks; if these are the questions, say"
        told = f"{source}: {told} --prompt-field problem (prompt_field= in Python)"
        warnings.warn(told, PoolWarning, stacklevel=2)
