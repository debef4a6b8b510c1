"""A verifier: a trained, calibrated scorer head for one layer of one model, and its file.

A file names a registered head and holds its weights; no code in it is imported or run. Knows how to
apply a head; `training` makes one.
"""

import json
import os
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tinygrad import Tensor
from tinygrad.nn.state import get_state_dict

from edifice_tt.architectures.causal_lm import CausalLM
from edifice_tt.contract import registry
from edifice_tt.contract.errors import (
    CheckpointError,
    EdificeError,
    PluginError,
    ToolchainError,
    TrainedOnWarning,
)
from edifice_tt.contract.options import check_size
from edifice_tt.contract.providers import NotThereError, asked_for_by, check_present, provided_by
from edifice_tt.contract.shown import Shown, Table, number
from edifice_tt.contract.tracing import blamed, named, show
from edifice_tt.contract.wording import counted
from edifice_tt.engine.hidden import read_hidden
from edifice_tt.engine.rows import States
from edifice_tt.machine.exclusive import exclusive
from edifice_tt.machine.json_text import parse_record, take, take_all
from edifice_tt.machine.toolchain import open_device
from edifice_tt.nn.buffers import held_to, place
from edifice_tt.pools.pool import Pool
from edifice_tt.scoring.digests import digest_of as digest_of
from edifice_tt.scoring.digests import tokenizer_digest as tokenizer_digest
from edifice_tt.scoring.heads import in_half, logit_of_mean, logits_of, looks_back, read_head
from edifice_tt.scoring.heads import new_head as new_head
from edifice_tt.version import __version__
from edifice_tt.weights.safetensors import (
    check_finite,
    check_fit,
    differences,
    fill,
    open_safetensors,
    write_safetensors,
)
from edifice_tt.weights.safetensors_header import Format

FORMAT = Format("edifice_tt_verifier", "not a verifier; make one with edifice-tt train", "1")
READS = ("last", "tokens", "steps")
_HEAD, _MEAN, _SCALE = "head.", "input.mean", "input.scale"


@dataclass(frozen=True, eq=False, repr=False)
class Verifier(Shown):
    """A trained head, what it reads, and its calibration.

    `scorer` and `options` make the registered head. `layer` and `fingerprint` identify the hidden
    states and the model that it reads, `tokenizer` (a digest, if known) the tokenizer. The head
    reads (states - mean) * scale; the probability is sigmoid(slope * logit + offset). `reads` says
    of what: the `last` token, or the mean probability of all `tokens` or of `steps`, which are the
    last token and those of the ids `ends`. `trained_on` holds digests of the training prompts,
    `figures` the measurements on held-out problems. `owner` is the plugin that provides it, and is
    not saved.
    """

    name: str
    scorer: str
    options: Mapping[str, Any]
    layer: int
    hidden_size: int
    fingerprint: str
    head: Any
    mean: NDArray[np.float32]
    scale: NDArray[np.float32]
    slope: float = 1.0
    offset: float = 0.0
    trained_on: frozenset[str] = frozenset()
    figures: Mapping[str, Any] = field(default_factory=dict)
    tokenizer: str = ""
    owner: str = ""
    reads: str = "last"
    ends: frozenset[int] = frozenset()

    def _line(self) -> str:
        trained = counted(len(self.trained_on), "problem")
        where = f"{self.scorer} at layer {self.layer} of the model {self.fingerprint}"
        return f"{self.name!r}: {where}, trained on {trained}"

    def _table(self) -> Table:
        rows = ((name, number(value)) for name, value in self.figures.items())
        return ("on held-out problems", ""), rows

    def __str__(self) -> str:
        return named("verifier", self)

    def check(self, lm: CausalLM | None) -> None:
        """Raise `EdificeError` for a model that it was not trained on."""
        if lm is None:
            raise EdificeError(f"{self} reads hidden states, so it needs its model")
        if lm.config.hidden_size != self.hidden_size:
            raise EdificeError(
                f"{self} reads hidden states of size {self.hidden_size}, those of model "
                f"{lm.name!r} have {lm.config.hidden_size}; use the model that it was trained on"
            )
        if lm.fingerprint != self.fingerprint:
            raise EdificeError(
                f"{self} was trained on the model with fingerprint {self.fingerprint}, {lm.name!r} "
                f"has {lm.fingerprint}; use that model, or train a verifier on this one"
            )
        if self.tokenizer and (theirs := tokenizer_digest(lm)) != self.tokenizer:
            raise EdificeError(
                f"{self} was trained with the tokenizer {self.tokenizer}, that of {lm.name!r} is "
                f"{theirs}; use the model with its own tokenizer"
            )

    def score(self, lm: CausalLM | None, pool: Pool) -> Pool:
        """The pool with one probability per candidate."""
        self.check(lm)
        assert lm is not None
        if self.has_seen(pool.prompt):
            self.warn_of(pool.problem)
        states = read_hidden(lm, pool, self.layer, last_only=not self.reads_all)
        return self.score_states(pool, states)

    def answer_logits(
        self, states: Sequence[NDArray[np.floating[Any]]], answers: Iterable[Sequence[int]]
    ) -> list[float]:
        """A logit per answer; states are rounded to half precision, as in training.

        Raises `EdificeError` for answers without the token ids of their states, if it needs them.
        """
        rows = self.logits(list(map(in_half, states)))
        if self.reads == "last":
            return [float(row[-1]) for row in rows]
        if self.reads == "tokens":
            return [logit_of_mean(row) for row in rows]
        pairs = list(zip(rows, answers, strict=True))
        if short := [ids for row, ids in pairs if len(ids) != len(row)]:
            raise EdificeError(
                f"{self} reads where steps end, and an answer has {len(short[0])} token ids, not "
                "one for each state; give answers that were sampled, with all their states"
            )
        ended = ([*(token in self.ends for token in ids[:-1]), True] for _, ids in pairs)
        return [logit_of_mean(row[at]) for row, at in zip(rows, ended, strict=True)]

    def score_states(self, pool: Pool, states: Sequence[NDArray[np.floating[Any]]]) -> Pool:
        """The same of states that were read before: all if it reads all, else the last."""
        seen = self.has_seen(pool.prompt)
        logits = self.answer_logits(states, (candidate.token_ids for candidate in pool))
        if not np.isfinite(logits).all():
            raise EdificeError(f"{self} gave a score that is not a finite number")
        scores = [self.probability(logit) for logit in logits]
        return pool.with_scores(self.name, scores, range="probability", seen=seen)

    @cached_property
    def looks_back(self) -> bool:
        """Whether its number at a token depends on the tokens before."""
        return looks_back(self.head, self.hidden_size)

    @property
    def reads_all(self) -> bool:
        """Whether it needs the states of all tokens."""
        return self.reads != "last" or self.looks_back

    def warn_of(self, problem: str) -> None:
        """Warn that it was trained on a problem."""
        warnings.warn(
            f"{self} was trained on problem {problem!r}; how it scores this says nothing about new "
            "problems",
            TrainedOnWarning,
            stacklevel=4,
        )

    def has_seen(self, prompt: str) -> bool:
        """Whether it was trained on the problem of this prompt."""
        return digest_of(prompt) in self.trained_on

    def logits(self, states: Sequence[NDArray[np.floating[Any]]]) -> list[States]:
        """The head's logits (T,) at all positions, per candidate with states (T, D).

        Raises `PluginError` for a head that declares probabilities and gives something else.
        """
        device = str(next(iter(get_state_dict(self.head).values())).device)
        ready = [(one.astype(np.float32) - self.mean) * self.scale for one in states]
        values = read_head(self.head, ready, device)
        head = registry.scorer(self.scorer)
        if head.range != "probability":
            return values
        who = f"{self}: its head, scorer {head.name!r} of {head.owner},"
        return [logits_of(row, who) for row in values]

    def probability(self, logit: float) -> float:
        """The calibrated probability of being right."""
        return float(np.exp(-np.logaddexp(0.0, -(self.slope * logit + self.offset))))

    @exclusive
    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the verifier to a file, atomically."""
        weights = get_state_dict(self.head)
        device = str(next(iter(weights.values())).device)
        tensors = {_HEAD + name: weight for name, weight in weights.items()}
        for name, array in ((_MEAN, self.mean), (_SCALE, self.scale)):
            tensors[name] = Tensor(array, device=device)
        described = {name: getattr(self, name) for name in _DESCRIBED}
        described |= {"options": dict(self.options), "figures": dict(self.figures)}
        described |= {"trained_on": sorted(self.trained_on), "tokenizer": self.tokenizer}
        described |= {"reads": self.reads, "ends": sorted(self.ends)}
        metadata = {**FORMAT.metadata, "edifice_tt": __version__, **provided_by(self.scorer)}
        write_safetensors(path, tensors, {**metadata, "verifier": json.dumps(described)})


_DESCRIBED: dict[str, type] = {
    **dict.fromkeys(("name", "scorer", "fingerprint"), str),
    **dict.fromkeys(("layer", "hidden_size"), int),
    **dict.fromkeys(("slope", "offset"), float),
}


@exclusive
def load_verifier(path: str | os.PathLike[str], device: str | None = None) -> Verifier:
    """Read a verifier: a registered one, by name, or a file of `Verifier.save`.

    Its head must be registered. Raises `CheckpointError` for a damaged or foreign file and for
    weights that do not fit the head, `UnknownNameError` when the head is not installed.
    """
    if isinstance(path, str):
        registered = registry.load_registry().verifiers
        if path in registered:
            return open_verifier(registry.scorer(path), device)
    file = open_safetensors(path, FORMAT)
    opened = open_device(device)
    try:
        fields = _read_description(file.metadata)
        held = held_to(entry.shape for entry in file.entries.values())
        with asked_for_by(path, file.metadata), held:
            head = new_head(fields["scorer"], fields["hidden_size"], fields["options"])
    except (KeyError, ValueError) as error:
        raise CheckpointError(f"{path}: its description is damaged ({error})") from error
    head = place(head, opened)
    weights = {_HEAD + name: weight for name, weight in get_state_dict(head).items()}
    size = (fields["hidden_size"],)
    expected = {**weights, _MEAN: Tensor.zeros(*size), _SCALE: Tensor.zeros(*size)}
    actual = {key: (entry.shape, entry.dtype) for key, entry in file.entries.items()}
    check_fit(file.path, differences(expected, actual))
    fill(weights, {name: name for name in weights}, file)
    for input, name in (("mean", _MEAN), ("scale", _SCALE)):
        tensor = file.read(name, opened)
        check_finite(file.path, name, tensor)
        fields[input] = tensor.numpy()
    return Verifier(head=head, **fields)


def _read_description(metadata: Mapping[str, str]) -> dict[str, Any]:
    """The fields written by `Verifier.save`; raises `ValueError` for a damaged one."""
    record = parse_record(metadata["verifier"])
    fields = {name: take(record, name, kind) for name, kind in _DESCRIBED.items()}
    if empty := [name for name in ("name", "scorer") if not fields[name]]:
        raise ValueError(f"{empty[0]} is empty")
    check_size("hidden_size", fields["hidden_size"])
    check_size("num_layers", fields["layer"], "layer")
    fields |= {name: take(record, name, dict) for name in ("options", "figures")}
    fields["trained_on"] = frozenset(take_all(record, "trained_on", str))
    record = {"tokenizer": "", "reads": "last", "ends": [], **record}
    fields |= {name: take(record, name, str) for name in ("tokenizer", "reads")}
    if fields["reads"] not in READS:
        raise ValueError(f"reads={fields['reads']!r:.40} must be one of {', '.join(READS)}")
    fields["ends"] = frozenset(take_all(record, "ends", int))
    return fields


def open_verifier(record: registry.Scorer, device: str | None = None) -> Verifier:
    """The verifier of a scorer that reads `states`, under the scorer's name.

    Every error names its owner.
    """
    who = f"scorer {record.name!r} of {record.owner}"
    try:
        with blamed(f"{who} failed", own=(ToolchainError, CheckpointError)):
            verifier = record.factory()
            check_present(record, verifier)
            if isinstance(verifier, str | os.PathLike):
                verifier = load_verifier(Path(verifier), device)
    except CheckpointError as error:
        do = "" if isinstance(error, NotThereError) else "; install it anew"
        raise CheckpointError(f"{who}: {error}{do}") from error
    if not isinstance(verifier, Verifier):
        raise PluginError(
            f"{who} gave {show(verifier):.60}, expected a Verifier or its file's path"
        )
    return replace(verifier, name=record.name, owner=record.owner)
