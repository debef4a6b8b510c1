"""Logs of Inspect (`inspect_ai`) -> pools: JSON, or a zip of it. Knows no other program."""

import codecs
import json
import os
import re
import warnings
import zipfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, BinaryIO

from edifice_tt.contract.errors import CheckpointError, PoolWarning
from edifice_tt.machine.files import first_bytes
from edifice_tt.machine.json_text import check_whole
from edifice_tt.pools.candidates import Candidate
from edifice_tt.pools.inspect_samples import Fields, Reader, fields_of, list_of
from edifice_tt.pools.messages import Message
from edifice_tt.pools.pool import Pool

_ZIP = b"PK\x03\x04"
_START = re.compile(rb'\s*\{\s*"version":\s*\d+,\s*"status":')
_MEMBER = re.compile(r"samples/(.*)_epoch_\d+\.json", re.S)


def is_log(path: str | os.PathLike[str]) -> bool:
    """Whether a file begins as Inspect's logs do."""
    start = first_bytes(path, 256).removeprefix(codecs.BOM_UTF8)
    return start.startswith(_ZIP) or _START.match(start) is not None


def read_log(
    path: str | os.PathLike[str], scorer: str, range: str | None, model: str | None
) -> Iterator[Pool]:
    """The problems of a log, with an epoch as a candidate. `scorer` says which were right.

    If it is none of the log's, that is the first that says so in words, or the only one.
    Raises `CheckpointError` for what cannot be read.
    """
    path, reader = Path(path), Reader(scorer, range)
    try:
        with path.open("rb") as file:
            if file.read(len(_ZIP)) != _ZIP:
                yield from _Log(path, *_of_json(path), fields_of, reader, model).pools()
                return
            with _open_zip(file) as archive:
                load = partial(_member, archive)
                yield from _Log(path, *_of_zip(archive), load, reader, model).pools()
    except CheckpointError:
        raise
    except RecursionError as error:
        raise CheckpointError(f"{path}: its brackets are nested too deeply") from error
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise CheckpointError(f"{path}: no log of Inspect that can be read ({reason})") from error


# --- the two kinds of files: the log without its samples, and those by problem

Groups = dict[str, list[Any]]
Chat = tuple[Message, ...]


def _loads(content: bytes) -> Fields:
    text = content.decode("utf-8-sig")
    value = json.loads(text)
    check_whole(text, value)
    return fields_of(value)


def _of_json(path: Path) -> tuple[Fields, Groups]:
    log = _loads(path.read_bytes())
    samples = log.pop("samples", None)
    if type(samples) is not list:
        raise ValueError("it holds no samples; evaluate with --log-samples")
    groups: Groups = {}
    for sample in samples:
        groups.setdefault(str(fields_of(sample).get("id")), []).append(sample)
    return log, groups


def _of_zip(archive: Any) -> tuple[Fields, Groups]:
    """The samples are the names of members."""
    names = dict.fromkeys(archive.namelist())
    groups: Groups = {}
    for name in names:
        if found := _MEMBER.fullmatch(name):
            groups.setdefault(found[1], []).append(name)
    if not groups:
        raise ValueError("it is a zip without samples/ID_epoch_N.json")
    header = next((one for one in ("header.json", "_journal/start.json") if one in names), None)
    return (_member(archive, header) if header else {}), groups


def _member(archive: Any, name: str) -> Fields:
    try:
        return _loads(archive.read(name))
    except NotImplementedError as error:
        raise CheckpointError(
            f"{archive.fp.name}: {name} is compressed in a way that this Python cannot read "
            f"({error}); newer logs are by zstd: pip install 'edifice-tt[inspect]' reads it, and "
            "`inspect log dump FILE > FILE.json` makes a log that needs no library"
        ) from error
    except Exception as error:  # each way of compression has errors of its own
        raise CheckpointError(f"{archive.fp.name}: {name} cannot be read ({error})") from error


def _open_zip(file: BinaryIO) -> Any:
    """A zip, by the copy of `zipfile` that reads zstd where Python's own does not."""
    library: Any = zipfile
    with suppress(ModuleNotFoundError):
        library = import_module("backports.zstd.zipfile")
    try:
        return library.ZipFile(file)
    except library.BadZipFile as error:
        raise ValueError(str(error)) from error


@dataclass
class _Log:
    path: Path
    log: Fields
    groups: Groups
    load: Callable[[Any], Fields]  # makes a sample of what stands in `groups`
    samples: Reader
    model: str | None

    def pools(self) -> Iterator[Pool]:
        about = fields_of(self.log.get("eval"))
        model = about.get("model") if self.model is None else self.model
        epochs = fields_of(about.get("config")).get("epochs")
        settings: Fields = {"model": model} if isinstance(model, str) else {}
        settings |= {"n": epochs} if type(epochs) is int else {}
        order = fields_of(about.get("dataset")).get("sample_ids")
        places = {str(name): place for place, name in enumerate(list_of(order))}
        for problem in sorted(self.groups, key=lambda name: places.get(name, len(places))):
            yield replace(self._pool(problem), settings=settings)
        remarks = [f"{told}: {count:,}" for told, count in self.samples.remarks.items() if count]
        self.samples.check_scorer()
        if (status := self.log.get("status", "success")) != "success":
            remarks.append(f"the evaluation's status is {status!r}, so problems may be missing")
        if remarks:
            warnings.warn(f"{self.path}: {'; '.join(remarks)}", PoolWarning, stacklevel=4)

    def _pool(self, problem: str) -> Pool:
        candidates, asked, failed = dict[int, Candidate](), list[Chat](), list[Chat]()
        gold: Any = None
        for sample in map(self.load, self.groups[problem]):
            epoch, gold = sample.get("epoch"), sample.get("target")
            try:
                if type(epoch) is not int or not 1 <= epoch < 2**63:
                    raise ValueError(f"epoch={epoch!r:.40} must be a whole number from 1 on")
                if sample.get("error") and not sample.get("scores"):
                    failed.append(self.samples.asked(sample))
                    continue
                asked.append(self.samples.asked(sample))
                candidates[epoch] = self.samples.candidate(sample, epoch - 1)
            except ValueError as error:
                where = f"sample {problem!r:.40}, epoch {epoch!r:.20}"
                raise CheckpointError(f"{self.path}, {where}: {error}") from error
        self._count("samples that ended in an error were left out", len(failed))
        differ = any(one != asked[0] for one in asked)
        self._count("problems whose epochs were asked differently have the first's chat", differ)
        names = {name for one in candidates.values() for name in one.scores}
        return Pool(
            "",
            tuple(candidates[epoch] for epoch in sorted(candidates)),
            problem=problem,
            gold=self._gold(gold),
            ranges=dict.fromkeys(sorted(names), self.samples.range) if self.samples.range else {},
            messages=(asked or failed)[0],
        )

    def _gold(self, target: Any) -> str | None:
        """The right answer; of several the first."""
        several = list_of(target) or [target]
        told = "problems with several right answers keep the first as gold"
        self._count(told, len(several) > 1)
        first = several[0]
        return str(first) if isinstance(first, str | int | float) and first != "" else None

    def _count(self, what: str, count: int) -> None:
        self.samples.remarks.update({what: count})
