"""One pool file -> two, by problem. Draws with a seed; knows no model."""

import os
from hashlib import sha256
from pathlib import Path

from edifice_tt.contract.errors import CheckpointError
from edifice_tt.contract.options import check_seed
from edifice_tt.machine.files import replacing
from edifice_tt.pools.pool import Pool, PoolFile
from edifice_tt.pools.writer import put_pools


def split_pools(
    source: str | os.PathLike[str],
    train_path: str | os.PathLike[str],
    test_path: str | os.PathLike[str],
    *,
    train: float = 0.8,
    seed: int = 0,
    overwrite: bool = True,
) -> tuple[int, int]:
    """Share out the problems of a pool file to two new ones; returns how many each has.

    Problems with the same prompt stay together, so no question is in both. The draw depends on the
    seed, the prompts and the ids alone, not on their order. Each file has at least one question,
    the first about `train` of them. Marks, scores and what a scorer was trained on go along. Raises
    `ValueError` for a share that is not between 0 and 1, and for fewer than two questions.
    """
    if type(train) not in (int, float) or not 0 < train < 1:
        raise ValueError(f"train={train!r} must be between 0 and 1, a share; 0.8 is usual")
    check_seed(seed)
    paths = [Path(path) for path in (train_path, test_path)]
    if len({os.path.realpath(path) for path in (source, *paths)}) < 3:
        raise ValueError(f"{source}, {paths[0]} and {paths[1]} must be three files")
    file = PoolFile(source).with_problems()
    chosen = _draw(file, train, seed)
    halves = [[name for name in file.problems if (name in chosen) == first] for first in (1, 0)]
    try:
        with (
            replacing(paths[0], overwrite=overwrite) as replace_train,
            replacing(paths[1], overwrite=overwrite) as replace_test,
        ):
            for replace, half in zip((replace_train, replace_test), halves, strict=True):
                put_pools(replace, (Pool(**own) for own in file.fields(*half)), file.scorers)
    except BlockingIOError as error:
        raise CheckpointError(f"{error.filename}: {error.strerror}") from error
    return len(halves[0]), len(halves[1])


def _draw(file: PoolFile, train: float, seed: int) -> set[str]:
    questions: dict[str, list[str]] = {}
    for name, about in file.problems.items():
        # An imported pool may not know its prompts; then ids tell questions apart.
        question = f"prompt {about['prompt']}" if about["prompt"] else f"id {name}"
        questions.setdefault(question, []).append(name)
    if len(questions) < 2:
        raise ValueError(f"{file.path}: it has one question, and two halves need two at least")
    drawn = sorted(questions, key=lambda question: sha256(f"{seed} {question}".encode()).digest())
    count = min(max(round(train * len(drawn)), 1), len(drawn) - 1)
    return {name for question in drawn[:count] for name in questions[question]}
