"""Peers that read language models, each in the formats that serve it best, and their files.

Every file is made of the model's own, whose weights are of 4 bits (Q4_1); to make it coarser or
finer costs the peer nothing but what it rounds.
"""

import sys
import time
from collections.abc import Iterable
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from peer import Peer, PeerMissing, start_peers

_REST = 0.25  # seconds; threads of OpenMP may spin for 0.2 after their work


class Format(NamedTuple):
    """A module of `peers/` with a file of that name (none: the model's own), and how it loads."""

    module: str
    file: str = ""
    how: dict[str, Any] = {}  # noqa: RUF012


EXACT = "hf-float32"  # the folder whose weights are those of the model's own file
COPIES = ", copies"  # ends the names of peers that copy the prompt for each row
_COPIES = {"shared": False}
FORMATS = {
    "llama.cpp": Format("llama_cpp_lm"),
    "llama.cpp, copies": Format("llama_cpp_lm", how=_COPIES),
    "llama.cpp Q4_0": Format("llama_cpp_lm", "Q4_0.gguf"),
    "llama.cpp Q4_0, copies": Format("llama_cpp_lm", "Q4_0.gguf", _COPIES),
    "llama.cpp Q8_0": Format("llama_cpp_lm", "Q8_0.gguf"),
    "llama.cpp Q8_0, copies": Format("llama_cpp_lm", "Q8_0.gguf", _COPIES),
    "ik_llama.cpp": Format("ik_llama_cpp_lm"),
    "ik_llama.cpp Q4_0": Format("ik_llama_cpp_lm", "Q4_0.gguf"),
    "OpenVINO int4": Format("openvino_lm", "openvino-int4"),
    "OpenVINO int8": Format("openvino_lm", "openvino-int8"),
    "OpenVINO GenAI int4": Format("openvino_genai_lm", "openvino-int4"),
    "OpenVINO GenAI int8": Format("openvino_genai_lm", "openvino-int8"),
    "OpenVINO GenAI int4, float32": Format(
        "openvino_genai_lm", "openvino-int4", {"activations": "float32"}
    ),
    "CTranslate2 int8": Format("ctranslate2_lm", "ct2-int8"),
    "transformers float32": Format("transformers_lm", EXACT),
    "transformers bfloat16": Format("transformers_lm", EXACT, {"dtype": "bfloat16"}),
}
ON_A_GPU = {
    "transformers float16": Format("transformers_lm", how={"dtype": "float16", "device": "cuda"})
}
# Who makes a file, and of which other one; none is the model's own.
_MADE = {
    EXACT: ("transformers_lm", ""),
    "Q4_0.gguf": ("llama_cpp_lm", ""),
    "Q8_0.gguf": ("llama_cpp_lm", ""),
    "openvino-int4": ("openvino_convert", EXACT),
    "openvino-int8": ("openvino_convert", EXACT),
    "ct2-int8": ("ctranslate2_lm", EXACT),
}
PEER_DEVICE: dict[str, Any] = {
    "choices": ["cpu", "cuda", "none"],
    "default": "cpu",
    "help": "none: no peers; cuda: transformers in float16 alone",
}
BESIDE: dict[str, Any] = {
    "nargs": "+",
    "choices": list(FORMATS),
    "metavar": "PEER",
    "help": f"which peers (default: all): {', '.join(FORMATS)}",
}
FILES: dict[str, Any] = {
    "metavar": "FOLDER",
    "help": "where the peers' files of the model are kept (default: made anew in each run)",
}


class Subject:
    """A peer with the model in one format; its `precision` is known as soon as it has loaded."""

    def __init__(self, peer: Peer, file: str, form: Format) -> None:
        self._peer, self._file, self._how = peer, file, form.how
        # Weights that are not those of the model's file; its next token may be another.
        self.rounded = form.file not in ("", EXACT) or "16" in form.how.get("dtype", "")
        self.versions = peer.versions
        self.precision: dict[str, str] = {}

    def load(self, threads: int, rows: int, prompt: int, new: int) -> None:
        """Room for that many rows behind a prompt, of so many new tokens each."""
        size = {"threads": threads, "rows": rows, "prompt": prompt, "new": new}
        self.precision = self._peer("load", file=self._file, **size, **self._how)

    def prefill(self, ids: list[int]) -> dict[str, Any]:
        """Seconds to read a prompt, and the most likely token after it."""
        return self._rested(self._peer("prefill", ids=ids))

    def decode(self, ids: list[int], rows: int, steps: int) -> float:
        """Seconds of that many steps behind the prompt."""
        return self._rested(self._peer("decode", ids=ids, rows=rows, steps=steps))

    def logits(self, ids: list[int], path: str) -> None:
        """Write the logits (T, V) to a NumPy file."""
        self._peer("logits", ids=ids, path=path)

    def close(self) -> None:
        """End the process."""
        self._peer.close()

    @staticmethod
    def _rested(result: Any) -> Any:
        time.sleep(_REST)
        return result


@contextmanager
def open_subjects(options: Any, gguf: str) -> Any:
    """The peers with a model, by name; each that is absent costs a sentence.

    A model of the shape that `options` name has no other file than its own.
    """
    of_shape = getattr(options, "shape", None)
    known = {"cpu": FORMATS, "cuda": ON_A_GPU, "none": {}}[options.peer_device]
    chosen = {
        name: form
        for name, form in known.items()
        if (options.beside is None or name in options.beside) and not (of_shape and form.file)
    }
    with TemporaryDirectory() as folder:
        files = Path(options.files or folder)
        subjects = {}
        for name, form in chosen.items():
            try:
                file = _file(options.peers, files, form.file, gguf)
            except PeerMissing as missing:
                print(f"{name}: {missing}", file=sys.stderr)
                continue
            for peer in start_peers(options.peers, [form.module]).values():
                subjects[name] = Subject(peer, file, form)
        yield subjects
        for subject in subjects.values():
            subject.close()


def _file(pythons: Iterable[str], folder: Path, name: str, gguf: str) -> str:
    """The path of a format's file, made first where it is not there."""
    path = folder / name
    if not name or path.exists():
        return str(path) if name else gguf
    module, of = _MADE[name]
    source = _file(pythons, folder, of, gguf)
    folder.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"part-{name}")  # half a file is not taken for a whole one
    absent = PeerMissing(f"{module} is left out, which makes {name}; see benchmarks/README.md")
    for python in pythons:
        try:
            peer = Peer(python, module)
            peer("convert", source=source, target=str(part), kind=name)
        except PeerMissing as missing:
            absent = missing
            continue
        peer.close()
        part.rename(path)
        return str(path)
    raise absent
