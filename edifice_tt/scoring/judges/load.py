"""A name or a path -> a judge, with its weights, its tokenizer and its template."""

import os
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeGuard

import numpy as np
from tinygrad import Tensor

from edifice_tt.architectures.causal_lm import CausalLM
from edifice_tt.contract.errors import CheckpointError, EdificeError, PluginError
from edifice_tt.contract.providers import check_present
from edifice_tt.contract.records import Scorer
from edifice_tt.contract.scorer_options import check_complete
from edifice_tt.contract.tracing import blamed, show
from edifice_tt.machine.exclusive import exclusive
from edifice_tt.nn.cache import check_kv_dtype
from edifice_tt.scoring.judges.describe import describe
from edifice_tt.scoring.judges.judge import Judge
from edifice_tt.scoring.judges.layout import Layout, check_prompt
from edifice_tt.weights.gguf_model import check_activations
from edifice_tt.weights.pretrained import lasting, load_pretrained, locate
from edifice_tt.weights.rewards.files import RewardFile, open_reward
from edifice_tt.weights.rewards.heads import Head, Layer
from edifice_tt.weights.rewards.kinds import TEXT_KINDS, Kind, find_kind


def load_reward(
    model: str | os.PathLike[str] | CausalLM,
    device: str | None = None,
    dtype: str | None = None,
    activations: str = "float32",
    kv_dtype: str | None = None,
    *,
    kind: str | None = None,
    prompt: str | None = None,
    labels: Sequence[str] | None = None,
    label: int | str | None = None,
    marker: str | None = None,
    name: str | None = None,
) -> Judge:
    """Load a judge: a Hugging Face folder or a GGUF file with the head of a reward model.

    `model`, `device`, `dtype`, `activations` and `kv_dtype` as in `load_pretrained`. The folder
    says which `kind` it is. A language model without a head does not, so name it: `plus_minus`,
    `step_tag`, `yes_no` or `follow_up`. In the `prompt` of `yes_no` {question} and {answer} stand,
    that of `follow_up` is the next turn. `labels` are the two words of these kinds, the good one
    first. `label` is the one that counts in a head with several. With a head, `prompt` is the text
    that is read instead of a chat. `marker` is what stands behind each step, if not the kind's own.
    A model that is loaded already can judge without a head, its own answers too. `name` is the
    scorer's name in pools, by default the model's; without a head the kind follows.

    Raises `CheckpointError` for a folder without a head or with another than its config says, for
    weights with NaN or infinity, and for a judge without its template. Raises `EdificeError` where
    the vocabulary lacks a token that the kind reads, and `ValueError` for options that do not fit.
    """
    wish = _Wish(kind, prompt, labels, label, marker, name).checked()
    loading = device, dtype, activations, kv_dtype
    if (asked := wish.kind_to_ask(model)) is not None:
        return _of_language_model(model, loading, asked, wish)
    if isinstance(model, CausalLM):
        raise ValueError(f"a loaded language model has no head; give kind={TEXT_KINDS[-1]!r}")
    check_activations(activations)
    check_kv_dtype(kv_dtype)
    path, known = locate(model)
    if path.is_dir() and activations != "float32":
        raise ValueError(f"activations={activations!r} is for GGUF files, given {path}")
    file = open_reward(path, kind)
    file.choose(label)
    wish.layout(file, file.tokenizer())  # a mistake in it costs no loading
    lm, head = file.load(*loading, label)
    lm.name, layout = known, wish.layout(file, lm.tokenizer)
    lm.reload = partial(_load_body, lasting(model), kind, *loading, label)
    return Judge(name or known, file.kind, lm, head, layout, file.labels)


def _load_body(
    model: str | Path,
    kind: str | None,
    device: str | None,
    dtype: str | None,
    activations: str,
    kv_dtype: str | None,
    label: int | str | None,
) -> CausalLM:
    """The language model of a judge with a head."""
    path, known = locate(model)
    lm, _ = open_reward(path, kind).load(device, dtype, activations, kv_dtype, label)
    lm.name = known
    return lm


def describe_reward(model: str | os.PathLike[str], **options: Any) -> dict[str, Any]:
    """What a judge is, in words; of a head no weight is read. `options` as in `load_reward`."""
    wish = _Wish(**options).checked()
    if wish.kind_to_ask(model) is not None:
        return load_reward(model, **options).describe()
    path, known = locate(model)
    file = open_reward(path, wish.kind)
    layout = wish.layout(file, file.tokenizer())
    score, label = file.choose(wish.label)
    about = describe(wish.name or known, layout, file.sizes, score)
    return {**about, "labels": list(file.labels), "label": label}


class _Wish(NamedTuple):
    """What was asked of a judge, beside its model."""

    kind: str | None = None
    prompt: str | None = None
    labels: Sequence[str] | None = None
    label: int | str | None = None
    marker: str | None = None
    name: str | None = None

    def checked(self) -> "_Wish":
        """The same; raises `ValueError` for what is no text, and for a name that none can read."""
        for option in ("prompt", "marker", "name"):
            if not isinstance(given := getattr(self, option), str | None):
                raise ValueError(f"{option}={given!r:.40} must be a text")
        if self.name is not None and not (self.name.strip() and self.name.isprintable()):
            raise ValueError(f"name={self.name!r:.40} must be a name, in one line")
        return self

    def kind_to_ask(self, model: str | os.PathLike[str] | CausalLM) -> Kind | None:
        """The kind, if it is one of a language model without a head."""
        if self.prompt is not None:
            check_prompt(self.prompt, self.kind)
        kind = self.kind
        if kind is None and self.prompt is not None and not _has_head(model):
            kind = "yes_no"
        found = None if kind is None else find_kind(kind)
        if found is not None and found.labels:
            return found
        if self.labels is not None:
            raise ValueError(f"labels={self.labels!r:.60} are for {', '.join(TEXT_KINDS)}")
        return None

    def layout(self, file: RewardFile, tokenizer: Any) -> Layout:
        """How the texts of a judge with a head look; raises where they cannot be made."""
        if self.prompt is not None and file.kind.level == "step":
            raise ValueError(f"a {file.kind.name} has its own form of text; leave out the prompt")
        prompt = self.prompt or file.ranked
        layout = Layout(tokenizer, file.kind, file.pad_id, prompt, self.marker)
        check_texts(layout, file.path)
        return layout


def open_judge(record: Scorer, device: str | None = None) -> Judge:
    """The judge of a registered scorer, under the scorer's name; every error names its owner."""
    check_complete(record)
    who = f"scorer {record.name!r} of {record.owner}"
    try:
        with blamed(f"{who} failed", own=(EdificeError,)):
            judge = record.factory()
            check_present(record, judge)
            if isinstance(judge, str | os.PathLike):
                judge = load_reward(judge, device)
    except CheckpointError as error:
        raise CheckpointError(f"{who}: {error}") from error
    if not isinstance(judge, Judge):
        raise PluginError(f"{who} gave {show(judge):.60}, expected a Judge, or its path or name")
    for option in ("range", "level"):
        declared, own = getattr(record, option), getattr(judge, option)
        if declared != own:
            raise PluginError(f"{who} declares {option}={declared!r}, but its judge has {own!r}")
    return replace(judge, name=record.name, owner=record.owner)


def _has_head(model: str | os.PathLike[str] | CausalLM) -> bool:
    if isinstance(model, CausalLM):
        return False
    path, _ = locate(model)
    try:
        open_reward(path)
    except CheckpointError:
        return False
    return True


def _of_language_model(
    model: str | os.PathLike[str] | CausalLM,
    loading: tuple[str | None, str | None, str, str | None],
    kind: Kind,
    wish: _Wish,
) -> Judge:
    if (kind.form in ("prompt", "follow_up")) != (wish.prompt is not None):
        need = "needs" if wish.prompt is None else "takes no"
        raise ValueError(f"kind={kind.name!r} {need} prompt; see docs/judges.md")
    if wish.label is not None:
        raise ValueError(f"label={wish.label!r:.40} is for heads; a {kind.name} takes labels")
    words = kind.labels if wish.labels is None else wish.labels
    if not _are_two(words):
        raise ValueError(f"labels={wish.labels!r:.60} must be two words, the good one first")
    if isinstance(model, CausalLM) and loading != (None, None, "float32", None):
        raise ValueError(
            "the model is loaded already; leave out device, dtype, activations and kv_dtype"
        )
    if _has_head(model):
        raise ValueError(
            f"kind={kind.name!r} is for a language model without a head, and {model} has one; "
            "leave out the kind"
        )
    lm = model if isinstance(model, CausalLM) else load_pretrained(model, *loading)
    if not isinstance(lm, CausalLM) or lm.tokenizer is None:
        raise EdificeError(f"{model} is no language model with a tokenizer, so it cannot judge")
    layout = Layout(lm.tokenizer, kind, None, wish.prompt, wish.marker)
    check_texts(layout, Path(lm.name))
    ids = [layout.token(word) for word in words]
    if ids[0] == ids[1]:
        raise ValueError(f"labels={words!r:.60} are one token; give two words")
    name = wish.name or f"{lm.name}-{kind.name}"  # a model may judge in several ways
    return Judge(name, kind, lm, token_head(lm, ids), layout, tuple(words))


def _are_two(words: Any) -> TypeGuard[Sequence[str]]:
    if not isinstance(words, list | tuple) or not all(isinstance(word, str) for word in words):
        return False
    return len(words) == 2 and words[0] != words[1]


@exclusive
def token_head(lm: CausalLM, ids: Sequence[int]) -> Head:
    """The rows of a language model's head that give the logits of some tokens."""
    wanted = Tensor(np.array([ids], np.int32), device=lm.device)
    rows = (lm.lm_head or lm.token_embedding).rows(wanted).float().numpy()[0]  # (len(ids), D)
    weight = np.ascontiguousarray(rows * np.float32(lm.config.logits_scale))
    return Head((Layer(weight),), "softmax", 0, softcap=lm.config.logits_softcap)


def check_texts(layout: Layout, path: Path) -> None:
    """Raise where a tokenizer lacks what the texts of the judge need."""
    if layout.chats and not layout.tokenizer.has_chat_template:
        may_be_given = layout.kind.layers and layout.kind.level == "answer"
        raise CheckpointError(
            f"{path}: a {layout.kind.name} reads chats, and this one has no chat template; use a "
            "folder with chat_template.jinja"
            + ", or give its text as a prompt"
            * bool(may_be_given)
        )
    if layout.mark is not None and not (layout.kind.marker and layout.mark):
        raise ValueError(f"marker={layout.mark!r:.40} is for kinds with one behind each step")
    if layout.form == "marked_chat":
        layout.control(layout.marker)
    if layout.form == "tags":
        layout.token(layout.marker)
