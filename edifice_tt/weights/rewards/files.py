"""A judge's file or folder -> its kind, its head, and its language model. Runs no code from it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from edifice_tt.architectures.causal_lm import CausalLM
from edifice_tt.contract.errors import CheckpointError
from edifice_tt.machine.json_text import parse_record
from edifice_tt.machine.toolchain import open_device
from edifice_tt.nn.cache import choose_kv_dtype
from edifice_tt.weights.gguf import read_arrays
from edifice_tt.weights.gguf_header import is_gguf
from edifice_tt.weights.gguf_model import load_gguf
from edifice_tt.weights.gguf_parts import open_gguf
from edifice_tt.weights.huggingface import is_huggingface, load_huggingface, open_files
from edifice_tt.weights.huggingface_config import options_of
from edifice_tt.weights.rewards.heads import Head, Layer
from edifice_tt.weights.rewards.kinds import Kind, choose_layers, find_kind, head_tensors, kind_of
from edifice_tt.weights.safetensors import SafetensorsFile, check_finite, open_safetensors
from edifice_tt.weights.tokenizer import Tokenizer

_WRAPPER = "pretrained_model."  # before each name, where TRL's wrapper itself was saved
RANK = 4  # llama.cpp's `pooling_type` of a file with a head


@dataclass(frozen=True)
class RewardFile:
    """What a file says of its head: the kind, and the layers by name with (labels, input) sizes.

    `labels` are their names, where the file has some. `pad_id` is the token that counts as padding.
    """

    path: Path
    kind: Kind
    layers: tuple[str, ...]
    shapes: Mapping[str, tuple[int, ...]]
    labels: tuple[str, ...] = ()
    pad_id: int | None = None
    ranked: str | None = None  # the template that a GGUF file has for a query and a document

    @property
    def sizes(self) -> tuple[int, ...]:
        """The size of a hidden state, and of what comes out of each layer."""
        weights = [self.shapes[f"{layer}.weight"] for layer in self.layers]
        return (weights[0][1], *(rows for rows, _ in weights))

    def tokenizer(self) -> Tokenizer:
        """The tokenizer that its texts are read with."""
        if self.path.is_dir():
            return Tokenizer.from_folder(self.path)
        return Tokenizer.from_gguf(open_gguf(self.path).metadata)

    @property
    def num_labels(self) -> int:
        return self.shapes[f"{self.layers[-1]}.weight"][0]

    def choose(self, label: int | str | None = None) -> tuple[str, int]:
        """The kind of score and the label that counts; raises `CheckpointError` if that is open."""
        # What a softmax makes of one label is 1, whatever the text.
        alone = "logit" if self.kind.score == "softmax" else self.kind.score
        if label is not None:
            return ("softmax" if self.num_labels > 1 else alone), self._place(label)
        if self.num_labels == 1:
            return alone, 0
        if self.num_labels == 2 and self.kind.score != "sigmoid":
            return "softmax", 0 if self.kind.name == "rank" else 1
        raise CheckpointError(
            f"{self.path}: its head has {self.num_labels} labels, and a {self.kind.name} has "
            f"{'two' if self.kind.score == 'softmax' else 'one'}; name the one that counts with "
            "label= or --judge-label"
        )

    def _place(self, label: int | str) -> int:
        if isinstance(label, str) and self.labels.count(label) == 1:
            return self.labels.index(label)
        if type(label) is int and 0 <= label < self.num_labels:
            return label
        known = ", ".join([*self.labels, f"0 to {self.num_labels - 1}"])
        raise ValueError(f"label={label!r:.40} is not one of {known:.160}")

    def load(
        self,
        device: str | None,
        dtype: str | None,
        activations: str,
        kv_dtype: str | None,
        label: int | str | None,
    ) -> tuple[CausalLM, Head]:
        """The language model without its head, and the head."""
        score, chosen = self.choose(label)
        if self.path.is_dir():
            lm, layers = self._load_folder(device, dtype)
        else:
            lm, layers = self._load_gguf(device, dtype, activations)
        lm.kv_dtype = choose_kv_dtype(kv_dtype, lm.device)
        # Between two layers of its own llama.cpp has tanh.
        activation = "tanh" if self.kind.name == "rank" else "relu"
        return lm, Head(tuple(layers), score, chosen, activation)

    def _load_folder(self, device: str | None, dtype: str | None) -> tuple[CausalLM, list[Layer]]:
        files = _unwrapped(self.path)
        head = {name: file for file in files for name in file.entries if name in self.shapes}

        def read(name: str) -> Any:
            if name not in head:
                return None
            array = head[name].floats(name)
            check_finite(head[name].path, name, array)
            return array

        layers = [Layer(read(f"{one}.weight"), read(f"{one}.bias")) for one in self.layers]
        rest = [
            replace(file, entries={n: e for n, e in file.entries.items() if n not in head})
            for file in files
        ]
        return load_huggingface(self.path, device, dtype, rest), layers

    def _load_gguf(
        self, device: str | None, dtype: str | None, activations: str
    ) -> tuple[CausalLM, list[Layer]]:
        lm = load_gguf(self.path, device, dtype, activations, apart=self.shapes)
        read = dict(read_arrays(open_gguf(self.path), open_device(device), self.shapes))
        layers = [Layer(read[f"{one}.weight"], read.get(f"{one}.bias")) for one in self.layers]
        return lm, layers


def open_reward(path: Path, kind: str | None = None) -> RewardFile:
    """What a folder or a GGUF file says of its head; raises `CheckpointError` for one without.

    `kind` is for a folder that does not name its own; `ValueError` where the file is another.
    """
    if is_gguf(path):
        file = open_file(path)
        if kind not in (None, file.kind.name):
            raise ValueError(f"{path}: its head is a {file.kind.name}, given kind={kind!r}")
        return file
    if not is_huggingface(path):
        raise CheckpointError(f"{path}: neither a GGUF file nor a Hugging Face folder of a judge")
    return open_folder(path, kind)


def open_folder(path: Path, kind: str | None = None) -> RewardFile:
    """What a Hugging Face folder says of its head.

    Raises `CheckpointError` for one without, for a head that does not fit its config, and for an
    architecture that is unknown here.
    """
    file = path / "config.json"
    try:
        config = parse_record(file.read_bytes())
        family, _ = options_of(config)
        named = config.get("architectures") or []
        if not isinstance(named, list) or not all(isinstance(one, str) for one in named):
            raise ValueError(f"architectures={named!r:.60}, expected a list of names")
        pad = {**family.defaults, **config}.get("pad_token_id")
        if pad is not None and type(pad) is not int:
            raise ValueError(f"pad_token_id={pad!r:.60}, expected a token id or null")
    except OSError as error:
        raise CheckpointError(f"{file}: cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise CheckpointError(f"{file}: {error}") from error
    entries = {name: one for f in _unwrapped(path) for name, one in f.entries.items()}
    head = head_tensors(entries)
    try:
        found = kind_of(named, head) if kind is None else find_kind(kind)
        layers = choose_layers(found, head)
        shapes = {name: entries[name].shape for name in head}
        _check_shapes(layers, shapes, config.get("hidden_size"))
        labels = _labels(config, shapes[f"{layers[-1]}.weight"][0])
    except ValueError as error:
        raise CheckpointError(f"{path}: {error}") from error
    padding = None if pad is None or pad < 0 else pad  # no token has a number below 0
    return RewardFile(path, found, layers, shapes, labels, padding)


def _labels(config: Mapping[str, Any], rows: int) -> tuple[str, ...]:
    """The names of the labels in their order; raises `ValueError` for another number of them."""
    named, count = config.get("id2label"), config.get("num_labels")
    if named is None:
        if count is not None and (type(count) is not int or count != rows):
            raise ValueError(f"num_labels={count!r:.60}, the head has {rows} labels")
        return ()
    try:
        by_place = {int(key): one for key, one in named.items()}
    except (AttributeError, ValueError):
        by_place = {}
    if sorted(by_place) != [*range(rows)] or not all(isinstance(n, str) for n in by_place.values()):
        raise ValueError(f"id2label={named!r:.60}, expected a name for each of {rows} labels")
    return tuple(by_place[i] for i in range(rows))


def open_file(path: Path) -> RewardFile:
    """What a GGUF file says of its head; raises `CheckpointError` for one without."""
    header = open_gguf(path)
    family = header.metadata.get("general.architecture")
    head = head_tensors(header.entries)
    pooling = header.metadata.get(f"{family}.pooling_type")
    if not head and pooling == RANK:
        raise header.error("pooling_type is rank, but the head cls.output.weight is missing")
    try:
        kind = find_kind("rank") if head else kind_of((), ())
        layers = choose_layers(kind, head)
        shapes = {name: header.entries[name].shape for name in head}
        _check_shapes(layers, shapes, header.metadata.get(f"{family}.embedding_length"))
        labels = header.metadata.get(f"{family}.classifier.output_labels") or ()
        if not isinstance(labels, list | tuple) or len(labels) not in (
            0,
            shapes[f"{layers[-1]}.weight"][0],
        ):
            raise ValueError(f"classifier.output_labels={labels!r:.60} are not those of the head")
    except ValueError as error:
        raise header.error(str(error)) from error
    ranked = header.metadata.get("tokenizer.chat_template.rerank")
    if ranked is not None and not isinstance(ranked, str):
        raise header.error(f"tokenizer.chat_template.rerank={ranked!r:.60}, expected a text")
    return RewardFile(path, kind, layers, shapes, tuple(map(str, labels)), None, ranked)


def _check_shapes(
    layers: Sequence[str], shapes: Mapping[str, tuple[int, ...]], hidden_size: Any
) -> None:
    size = hidden_size
    for layer in layers:
        weight = shapes[f"{layer}.weight"]
        if len(weight) != 2 or weight[1] != size:
            raise ValueError(f"{layer}.weight has shape {weight}, expected (labels, {size})")
        size = weight[0]
        if shapes.get(f"{layer}.bias", (size,)) != (size,):
            raise ValueError(
                f"{layer}.bias has shape {shapes[f'{layer}.bias']}, expected {(size,)}"
            )


def _unwrapped(path: Path) -> list[SafetensorsFile]:
    """The files of a folder, their tensors named without TRL's wrapper."""
    files = open_files(path)
    if (apart := path / "value_head.safetensors").is_file():  # where LLaMA-Factory has it
        files.append(open_safetensors(apart))
    return [
        replace(file, entries={n.removeprefix(_WRAPPER): e for n, e in file.entries.items()})
        for file in files
    ]
