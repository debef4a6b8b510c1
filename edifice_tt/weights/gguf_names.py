"""What the names of GGUF files say: which part of how many, and which type. Opens none."""

import re
from collections.abc import Iterable
from pathlib import Path

# What is taken of a repository: the best answers per byte first, of the types that are read.
PREFERRED: tuple[str, ...] = (
    *("Q4_K_M", "Q4_K_S", "Q4_0", "Q4_1", "Q5_K_M", "Q5_K_S", "Q5_0", "Q5_1", "Q6_K"),
    *("Q8_0", "BF16", "F16", "F32"),
)
_PART = re.compile(r"(.+)-(\d{5})-of-(\d{5})\.gguf", re.DOTALL)
_NO_MODEL = re.compile(r"mmproj|imatrix", re.IGNORECASE)  # what stands beside a model


def part_of(name: str) -> tuple[int, int]:
    """Which part a file is by its name, from 1, and of how many; (1, 1) for a whole one.

    >>> part_of("a-00002-of-00003.gguf"), part_of("a.gguf")
    ((2, 3), (1, 1))
    """
    match = _PART.fullmatch(name)
    return (int(match[2]), int(match[3])) if match else (1, 1)


def part_ending(part: int, count: int) -> str:
    """How the name of a part ends."""
    return f"-{part:05}-of-{count:05}.gguf"


def part_names(name: str) -> list[str]:
    """The names of all parts, the first one first; a whole file is its only part.

    >>> part_names("a-00002-of-00002.gguf"), part_names("a.gguf")
    (['a-00001-of-00002.gguf', 'a-00002-of-00002.gguf'], ['a.gguf'])
    """
    match, (_, count) = _PART.fullmatch(name), part_of(name)
    if match is None or count < 1:
        return [name]
    return [match[1] + part_ending(part, count) for part in range(1, count + 1)]


def whole_name(path: Path) -> str:
    """The name of a model's file without its ending, and without that of a part.

    >>> whole_name(Path("a-00002-of-00003.gguf")), whole_name(Path("b.gguf"))
    ('a', 'b')
    """
    match = _PART.fullmatch(path.name)
    return match[1] if match else path.stem


def is_model(name: str) -> bool:
    """Whether a file is a model by its name: no projector, and no part but the first."""
    base = name.rpartition("/")[2]
    return base.endswith(".gguf") and not _NO_MODEL.search(base) and part_of(base)[0] == 1


def choose(names: Iterable[str]) -> str | None:
    """The only model among files; else the only one of the first of `PREFERRED` that there is.

    None where the names leave that open.

    >>> choose(["a-F16.gguf", "a-Q4_K_M.gguf", "a-IQ2_M.gguf", "mmproj-a-F16.gguf"])
    'a-Q4_K_M.gguf'
    """
    models = [name for name in names if is_model(name)]
    if len(models) == 1:
        return models[0]
    for kind in PREFERRED:
        if of_kind := [name for name in models if is_of(name, kind)]:
            return of_kind[0] if len(of_kind) == 1 else None
    return None


def is_of(name: str, kind: str) -> bool:
    """Whether a file's name says that its weights are of a type."""
    base = name.rpartition("/")[2]
    return re.search(rf"(?<![A-Za-z0-9]){kind}(?![A-Za-z0-9_])", base, re.IGNORECASE) is not None
