"""What is fuzzed: for each reader of files or foreign text, seed inputs and a call with any bytes.

A call may raise what its reader documents, `EdificeError` or `ValueError`; all else is a finding.
Headers and descriptions are given without their length or the file around them, so that a change
of one byte reaches the reader. Several files or texts in one input are parted by a zero byte.
"""

import json
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

from seeds import LLAMA, SOURCE, SPACED, folder_weights, folders, gguf, own_files

import edifice_tt as et
from edifice_tt.contract.errors import EdificeError
from edifice_tt.selection.answers import extractor, find_answers
from edifice_tt.testing import byte_tokenizer
from edifice_tt.training.features import load_features
from edifice_tt.training.progress import load_run
from edifice_tt.weights.gguf_parts import open_gguf
from edifice_tt.weights.safetensors import open_safetensors, write_safetensors
from edifice_tt.weights.tokenizer import Tokenizer


class Target(NamedTuple):
    """`run(input, folder)` gives the bytes to a reader; the folder is empty and its own."""

    seeds: Callable[[], Iterable[bytes]]
    run: Callable[[bytes, Path], object]


def _written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


# GGUF


def _load_gguf(content: bytes, folder: Path) -> None:
    lm = et.load_pretrained(_written(folder / "m.gguf", content))
    lm.tokenizer.encode("ab ba")
    if lm.tokenizer.has_chat_template:
        lm.tokenizer.chat([{"role": "user", "content": "ab"}])


def _load_metadata(given: bytes, folder: Path) -> None:
    metadata = json.loads(given)
    if isinstance(metadata, dict):
        _load_gguf(gguf(metadata), folder)


def _tokenizers() -> Iterable[bytes]:
    for metadata in (LLAMA, SPACED):
        yield Tokenizer.from_gguf(metadata).to_json().encode()


def _read_tokenizer(given: bytes, folder: Path) -> object:
    tokenizer = Tokenizer.from_json(given.decode(errors="replace"))
    return tokenizer.decode(tokenizer.encode("ab </s><|im_end|> ba"))


# safetensors, and what our own files say of themselves


def _with_length(given: bytes) -> bytes:
    header, _, data = given.partition(b"\0")
    return len(header).to_bytes(8, "little") + header + data


def _without_length(path: Path) -> bytes:
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    return content[8 : 8 + length] + b"\0" + content[8 + length :]


def _read_safetensors(given: bytes, folder: Path) -> None:
    file = open_safetensors(_written(folder / "m.safetensors", _with_length(given)))
    for name in file.entries:
        file.read(name, "CPU")


_LOADERS: dict[str, Callable[[Path], object]] = {
    "options": et.load,
    "verifier": et.load_verifier,
    "features": lambda path: load_features(path, SOURCE),
    "run": lambda path: load_run(path, "key", [[2]]),
}


def _own_file(kind: str, home: Path) -> Target:
    """The whole file of one kind."""
    return Target(
        lambda: [_without_length(own_files(home)[kind])],
        lambda given, folder: _LOADERS[kind](
            _written(folder / "m.safetensors", _with_length(given))
        ),
    )


def _description(kind: str, home: Path) -> Target:
    """What such a file says of itself, the rest as it was written."""

    def header() -> tuple[dict[str, Any], bytes]:
        text, _, data = _without_length(own_files(home)[kind]).partition(b"\0")
        return json.loads(text), data

    def run(given: bytes, folder: Path) -> object:
        said, data = header()
        said["__metadata__"][kind] = given.decode(errors="replace")
        content = _with_length(json.dumps(said).encode() + b"\0" + data)
        return _LOADERS[kind](_written(folder / "m.safetensors", content))

    return Target(lambda: [header()[0]["__metadata__"][kind].encode()], run)


# A Hugging Face folder

_FILES = ("config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors.index.json")


def _read_folder(given: bytes, folder: Path) -> object:
    for name, content in zip(_FILES, given.split(b"\0"), strict=False):
        _written(folder / name, content)
    write_safetensors(folder / "model.safetensors", folder_weights(), {})
    return et.load_pretrained(folder)


# Pools and problems

_POOL = et.Pool("2+2?", (et.Candidate(0, "4", (1, 2), (-0.5, -0.25), "stop", "4", True),))
_IMPORTED = {"problem": "1", "prompt": "2+2?", "gold": "4", "candidates": [{"text": "4"}]}


def _pools(home: Path) -> Iterable[bytes]:
    et.write_pools(home / "pool.jsonl", [_POOL], overwrite=True)
    yield (home / "pool.jsonl").read_bytes()


def _imported() -> Iterable[bytes]:
    scored = [{"text": "4", "score": 0.5, "num_tokens": 3, "correct": True}]
    for record in (_IMPORTED, _IMPORTED | {"candidates": scored}):
        yield json.dumps(record).encode() + b"\n"
    lists = {"prompt": "2+2?", "responses": ["4"], "scores": [[0.5]], "is_correct": [True]}
    yield json.dumps(lists).encode() + b"\n"
    row = {"problem": "p", "index": 0, "text": "4", "correct": "True", "score_rm": "0.5"}
    yield json.dumps(row).encode() + b"\n"
    sample = {"id": 1, "epoch": 1, "input": "2+2?", "scores": {"match": {"value": "C"}}}
    yield json.dumps({"version": 2, "status": "success", "samples": [sample]}).encode()


def _problems() -> Iterable[bytes]:
    fields = ("prompt", "problem", "gold")
    yield json.dumps({name: _IMPORTED[name] for name in fields}).encode() + b"\n"
    yield json.dumps({"messages": [{"role": "user", "content": "2+2?"}]}).encode() + b"\n"


_FORMATS = {
    "gsm8k": {"question": "2+2?", "answer": "so\n#### 4"},
    "math": {"problem": "2+2?", "solution": "\\boxed{4}"},
    "mmlu": {"question": "2+2?", "choices": ["3", "4"], "answer": 1},
}


def _read_formats(given: bytes, folder: Path) -> None:
    for name in _FORMATS:
        with suppress(EdificeError, ValueError):
            et.read_problems(_written(folder / "p.jsonl", given), format=name)


def _parquet() -> Iterable[bytes]:
    import pyarrow
    import pyarrow.parquet

    file = BytesIO()
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist([_IMPORTED] * 3), file)
    yield file.getvalue()


# Text of others

_TEXTS = [
    *(b"so \\boxed{\\frac{1}{2}}", b"The answer is 1,234.50.", b"<think>5</think> -3/4 \xc2\xb0"),
    *(b"x^2 + 3\\sqrt{2} = 7!\0 1e-5", b"\\text{about} 50\\% \\approx 0.5\0(1, 2]"),
]
_TEMPLATES = [
    b"{% for m in messages %}{{ m['role'] }}: {{ m.content | trim }}{% endfor %}",
    b"{% if messages | length > 9 %}{{ raise_exception('no') }}{% endif %}",
    b"{% set ns = namespace(a=1) %}{% if tools %}{{ tools | tojson }}{% endif %}{{ bos_token }}",
]


def _render(given: bytes, folder: Path) -> object:
    tokenizer = replace(byte_tokenizer(), chat_template=given.decode(errors="replace"))
    return tokenizer.chat([{"role": "user", "content": "hi"}])


def _extract(given: bytes, folder: Path) -> None:
    text = given.decode(errors="replace")
    for name in ("text", "number", "boxed", r"regex:(\d+)"):
        extractor(name)(text)
        find_answers(name).gold(text)


def _math(given: bytes, folder: Path) -> None:
    from edifice_tt_math.answers import extract
    from edifice_tt_math.arithmetic import math_valid
    from edifice_tt_math.equality import canonical, equal

    first, _, second = given.decode(errors="replace").partition("\0")
    extract(first)
    math_valid(first, [second])
    canonical(first)
    equal(first, second)


def targets(home: Path) -> dict[str, Target]:
    """All targets by name; `home` is an empty folder for what they write once."""
    found = {
        "gguf-header": Target(lambda: [gguf()], lambda b, f: open_gguf(_written(f / "m.gguf", b))),
        "gguf": Target(lambda: [gguf()], _load_gguf),
        "gguf-metadata": Target(
            lambda: [json.dumps(one).encode() for one in (LLAMA, SPACED)], _load_metadata
        ),
        "saved-tokenizer": Target(_tokenizers, _read_tokenizer),
        "safetensors": Target(
            lambda: [_without_length(own_files(home)["features"])], _read_safetensors
        ),
        "huggingface": Target(folders, _read_folder),
        "pool": Target(
            lambda: _pools(home), lambda b, f: list(et.read_pools(_written(f / "p.jsonl", b)))
        ),
        "import-pool": Target(
            _imported, lambda b, f: list(et.import_pools(_written(f / "p.jsonl", b)))
        ),
        "problems": Target(_problems, lambda b, f: et.read_problems(_written(f / "p.jsonl", b))),
        "problems-csv": Target(
            lambda: [b'prompt,gold\r\n"2+2, or ""4""?",4\r\n'],
            lambda b, f: et.read_problems(_written(f / "p.csv", b)),
        ),
        "problems-parquet": Target(
            _parquet, lambda b, f: list(et.import_pools(_written(f / "p.parquet", b)))
        ),
        "problem-formats": Target(
            lambda: [json.dumps(one).encode() + b"\n" for one in _FORMATS.values()], _read_formats
        ),
        "chat-template": Target(lambda: _TEMPLATES, _render),
        "answers": Target(lambda: _TEXTS, _extract),
        "math": Target(lambda: _TEXTS, _math),
    }
    names = {"options": "checkpoint", "verifier": "verifier", "features": "features", "run": "run"}
    for kind, name in names.items():
        found[name] = _own_file(kind, home)
        found[f"{name}-description"] = _description(kind, home)
    return found
