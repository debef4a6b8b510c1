"""Commands on what a pool file holds: show, split, export."""

import argparse
import sys
import textwrap
from collections.abc import Callable, Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import edifice_tt as et
from edifice_tt.cli import outputs, terminal
from edifice_tt.cli.options import Add
from edifice_tt.cli.parser import add_option, whole_number
from edifice_tt.contract.errors import UnknownNameError
from edifice_tt.contract.wording import counted, held
from edifice_tt.pools.candidates import RIGHT
from edifice_tt.pools.descent import Branch, tree_of
from edifice_tt.pools.pool import PoolFile
from edifice_tt.pools.question import question_text, tell_apart

HEADING = "pool files"
SPLIT = "pools.split:split_pools"
_LINES = 6  # of each text, unless --all is given
_KEPT = "\N{NO-BREAK SPACE}"  # in what is not to be broken at the end of a line
_AROUND = 24  # characters beside an answer
_INDENT = "    "
_STEP, _DEEPEST = "  ", 8  # how far a copy stands behind its parent, and the last that does
Styled = Iterator[tuple[str, str]]


def register(add: Add) -> None:
    show = add("show", _show, "look at the problems of a pool file, or at one with its candidates")
    show.add_argument("pool", type=Path, help="pool file; - reads it from standard input")
    show.add_argument("problem", nargs="?", help="id of a problem (default: list them)")
    show.add_argument("--all", action="store_true", help="whole texts, however long")
    show.add_argument(
        "--color",
        choices=("auto", "always", "never"),
        help="colours: on a terminal (auto, the default), always or never",
    )
    split = add("split", _split, "share out the problems of a pool file to two, by problem")
    split.add_argument("pool", type=Path, help="pool file; it stays as it is")
    add_option(split, SPLIT, "--train", "share of the problems for training (default: {:g})")
    add_option(split, SPLIT, "--seed", type=whole_number(0, "7"))
    split.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="NAME",
        help="write NAME.train.jsonl and NAME.test.jsonl (default: the pool's name)",
    )
    split.add_argument("--force", action="store_true", help="replace files that are there")
    export = add("export", _export, "write a pool file as a table, a row per candidate")
    export.add_argument("pool", type=Path, help="pool file; it stays as it is")
    kind = export.add_mutually_exclusive_group(required=True)
    for name in ("csv", "parquet"):
        kind.add_argument(
            f"--{name}", type=outputs.new_file, metavar="FILE", help=f"write the table as {name}"
        )
    export.add_argument("--force", action="store_true", help="replace the file if it is there")


# --- show


def _show(arguments: argparse.Namespace) -> None:
    with TemporaryDirectory() as folder:
        path = arguments.pool
        if str(path) == "-":  # a pool file is read at many places, which a pipe does not allow
            path = Path(folder, "standard input")
            path.write_bytes(sys.stdin.buffer.read())
        _show_file(arguments, PoolFile(path).with_problems())


def _show_file(arguments: argparse.Namespace, file: PoolFile) -> None:
    name = arguments.problem
    if name is None and len(file.problems) == 1:
        (name,) = file.problems
    if name is None:
        _list(arguments, file)
        return
    if name not in file.problems:
        near = get_close_matches(name, file.problems, n=3, cutoff=0.5)
        guess = f"; did you mean {' or '.join(map(repr, near))}?" if near else ";"
        raise UnknownNameError(
            f"{file.path} has no problem {name!r}{guess} edifice-tt show {file.path} lists them"
        )
    pool = file.pool(name)
    colours = terminal.wants_colours(arguments.color or "auto")
    terminal.show_result(
        arguments,
        pool.to_dict(),
        _problem(pool, None if arguments.all else _LINES),
        lambda parts: terminal.show_styled(parts, colours),
    )


def _list(arguments: argparse.Namespace, file: Any) -> None:
    """Print a line per problem."""
    found: list[dict[str, Any]] = []
    rows: list[tuple[str, ...]] = []
    width = _width()
    for pool in file:
        marked = [c.correct for c in pool if c.correct is not None]
        right, question = marked.count(True), question_text(pool)
        about = {"problem": pool.problem, "question": question, "gold": pool.gold}
        found.append({**about, "candidates": len(pool), "marked": len(marked), "right": right})
        share = f"{right} of {len(marked)}" if marked else f"? of {len(pool)}"
        share += _lacking(pool, len(marked))
        rows.append((_short(pool.problem, width * 3 // 8), share, _short(pool.gold or "", 12)))
    header = ("problem", "right", "gold", "question")
    room = width - sum(max(map(len, column)) + 2 for column in zip(header, *rows, strict=False))
    questions = tell_apart([one["question"] for one in found])
    rows = [(*row, _short(one, room)) for row, one in zip(rows, questions, strict=True)]
    terminal.show_result(arguments, found, terminal.table(header, rows))


def _problem(pool: Any, most: int | None) -> Styled:
    """A problem with its candidates, as wide as the terminal."""
    marked = [c.correct for c in pool if c.correct is not None]
    known = f"{marked.count(True)} of {len(marked)} right" if marked else "not marked"
    known += _lacking(pool, len(marked))
    gold = "" if pool.gold is None else f", gold answer {pool.gold}"
    yield _wrapped(f"problem {pool.problem}: {known}{gold}", ""), "head"
    yield _wrapped(question_text(pool), _INDENT, most), ""
    if pool.search is not None:
        yield "\n", ""
        yield _wrapped(_spent(pool.search), ""), "head"
    read = _reader(pool)
    for branch in tree_of(pool):
        yield "\n", ""
        candidate, indent = branch.candidate, _STEP * min(branch.depth, _DEEPEST)
        mark = RIGHT[candidate.correct]
        about = _about(candidate, mark, read(candidate)) + (
            "" if pool.search is None else _fate(branch)
        )
        about += "  the answer of this turn" * (candidate.index == pool.picked)
        yield _wrapped(about, indent, indent_rest=_INDENT), mark
        yield _wrapped(candidate.text, indent + _INDENT, most), ""


def _lacking(pool: Any, marked: int) -> str:
    """How many candidates are not marked where others are, and how many are missing."""
    told = f", {len(pool) - marked} not marked" if 0 < marked < len(pool) else ""
    return told + (f", {pool.num_missing} missing" if pool.num_missing else "")


def _reader(pool: Any) -> Callable[[Any], str]:
    """What tells where in a candidate's text its answer was read."""
    from edifice_tt.selection.places import reader_of

    place_of = reader_of(pool)

    def told(candidate: Any) -> str:
        if (place := place_of(candidate)) is None:
            return ""
        text, (begin, end) = candidate.text, place
        before, after = text[max(begin - _AROUND, 0) : begin], text[end : end + _AROUND]
        return f' (in "{" ".join(f"{before}[{text[begin:end]}]{after}".split())}")'

    return told


def _about(candidate: Any, mark: str, read: str) -> str:
    """What is known of a candidate, in one line."""
    answer = {None: "", "": "no answer"}.get(candidate.answer, f"answer {candidate.answer}{read}")
    scores = (f"{name} {score:.4f}" for name, score in sorted(candidate.scores.items()))
    end = {"length": "cut off", "dropped": "dropped"}.get(candidate.finish_reason, "")
    tokens = f"{candidate.num_tokens} tokens" if candidate.num_tokens else ""
    parts = filter(None, (f"#{candidate.index}", mark, answer, *scores, tokens, end))
    return "  ".join(part.replace(" ", _KEPT) for part in parts)


def _spent(search: Mapping[str, Any]) -> str:
    """How a search went, in one line."""
    by = f" by {search['scorer']}" if search["scorer"] else ""
    chosen = "none" if search["row"] is None else f"#{search['row']}"
    spent = f"{search['spent']} tokens spent, {search['kept_tokens']} of them kept"
    return f"search {search['method']}{by}: {spent}; it chose {chosen}"


def _fate(branch: Branch) -> str:
    """Where a row of a search was scored before, whose copy it is, and whether it was kept."""
    parent, begun = branch.candidate.parent, branch.candidate.begun
    scored = "".join(f"  {score:.4f} after {tokens} tokens" for tokens, score in branch.earlier)
    copied = scored + ("" if parent is None else f"  copy of #{parent} after {begun} tokens")
    return copied + (f"  {branch.fate}" if branch.fate in ("chosen", "kept") else "")


def _wrapped(text: str, indent: str, most: int | None = None, indent_rest: str = "") -> str:
    """A text in lines that fit; of more than `most`, the first and the last are left."""
    room = _width() - len(indent) - len(indent_rest)
    lines = [
        part
        for line in terminal.visible(text).expandtabs(4).splitlines() or [""]
        for part in textwrap.wrap(line, room, replace_whitespace=False) or [""]
    ]
    if most is not None and len(lines) > most + 1:  # a line for one line would spare nothing
        head, tail = lines[: most // 2], lines[most // 2 - most :]  # an answer stands at the end
        lines = [*head, f"... {len(lines) - most} more lines (--all) ...", *tail]
    rest = f"\n{indent}{indent_rest}"
    return f"{indent}{rest.join(lines)}\n".replace(_KEPT, " ")


def _short(text: str, width: int) -> str:
    text, width = " ".join(terminal.visible(text).split()), max(width, 8)
    return text if len(text) <= width else f"{text[: width - 3]}..."


def _width() -> int:
    return max(terminal.width(), 40)


# --- split and export


def _split(arguments: argparse.Namespace) -> None:
    begin = arguments.output or str(arguments.pool).removesuffix(".jsonl")
    paths = [Path(f"{begin}.{half}.jsonl") for half in ("train", "test")]
    for path in paths:
        outputs.check_absent(path, arguments.force)
    counts = et.split_pools(
        *(arguments.pool, *paths),
        train=arguments.train,
        seed=arguments.seed,
        overwrite=arguments.force,
    )
    halves = list(zip(paths, counts, strict=True))
    plain = {
        half: {"pool": str(path), "problems": count}
        for half, (path, count) in zip(("train", "test"), halves, strict=True)
    }
    text = "; ".join(f"{counted(count, 'problem')} in {path}" for path, count in halves)
    terminal.show_result(arguments, plain, text)


def _export(arguments: argparse.Namespace) -> None:
    kind = "csv" if arguments.csv else "parquet"
    path = arguments.csv or arguments.parquet
    outputs.check_absent(path, arguments.force)
    problems, candidates = et.export_pools(arguments.pool, path, kind, overwrite=arguments.force)
    plain = {"table": str(path), "problems": problems, "candidates": candidates}
    text = f"{held(candidates, problems)} in {path}"
    terminal.show_result(arguments, plain, text)
