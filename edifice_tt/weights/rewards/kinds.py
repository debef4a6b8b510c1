"""The kinds of judges: what a head is, where it reads, what its numbers mean, and how texts look.

A kind is a record. What is done with each word of it stands in `heads` and in `scoring.judges`.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from edifice_tt.contract.errors import CheckpointError, unknown_name


@dataclass(frozen=True)
class Kind:
    """A kind of judge.

    `place` says at which tokens numbers are read: `last` (the last one), `unpadded` (the last one
    that is not padding, as transformers takes it), or `steps` (one for each step). `score` says
    what becomes of them: `logit`, `sigmoid`, or `softmax` (of one label, or of two tokens). `form`
    is how a question and its answer become a text. `layers` are the names of the head's layers in a
    folder, the alternatives one after the other; with none, the head is two rows of the language
    model's own. `labels` are the words of these two rows, the good one first.
    """

    name: str
    place: str
    score: str
    form: str
    reduce: str = ""  # of its steps, unless told otherwise; none for a score per answer
    layers: tuple[tuple[str, ...], ...] = ()
    bias: bool | None = True  # None: with or without
    architecture: str = ""  # how that ends in a `config.json`
    marker: str = ""  # what stands behind each step, where that is a text
    labels: tuple[str, str] | None = None
    summary: str = ""

    @property
    def level(self) -> str:
        return "step" if self.reduce else "answer"


_SCORE, _LINEAR = ("score",), ("v_head.summary",)
_TWO = ("v_head.summary.0", "v_head.summary.2")
_SCORES = ("score.0", "score.2")
KINDS = {
    kind.name: kind
    for kind in (
        Kind(
            "classifier",
            "unpadded",
            "logit",
            "chat",
            layers=(_SCORE,),
            bias=False,
            architecture="ForSequenceClassification",
            summary="sequence classification: one number for the whole chat",
        ),
        Kind(
            "reward_model",
            "last",
            "logit",
            "reasoning_chat",
            layers=(_SCORES,),
            architecture="ForRewardModel",
            summary="two layers at the last token, as Qwen2.5-Math-RM",
        ),
        Kind(
            "value_head",
            "last",
            "logit",
            "chat",
            layers=(_LINEAR, _TWO),
            summary="a language model with a value head, as TRL saves it",
        ),
        Kind(
            "process_reward_model",
            "steps",
            "softmax",
            "marked_chat",
            "last",
            layers=(_SCORES,),
            architecture="ForProcessRewardModel",
            marker="<extra_0>",
            summary="two layers behind each step, as Qwen2.5-Math-PRM",
        ),
        Kind(
            "process_value_head",
            "steps",
            "sigmoid",
            "lines",
            "last",
            layers=(_LINEAR, _TWO),
            architecture="ForPrmModel",
            summary="a value head at the end of each line, as Skywork-o1-Open-PRM",
        ),
        Kind(
            "token_classifier",
            "steps",
            "softmax",
            "separated",
            "last",
            layers=(_SCORE,),
            bias=None,
            architecture="ForTokenClassification",
            marker="\n",
            summary="token classification behind each step, as TRL's PRMTrainer",
        ),
        Kind(
            "plus_minus",
            "steps",
            "softmax",
            "turns",
            "mean",
            labels=("+", "-"),
            summary="a language model that answers each step with + or -, as RLHFlow's",
        ),
        Kind(
            "step_tag",
            "steps",
            "softmax",
            "tags",
            "min",
            labels=(" +", " -"),
            marker=" ки",
            summary="a language model read at the tag behind each step, as Math-Shepherd",
        ),
        Kind(
            "follow_up",
            "last",
            "softmax",
            "follow_up",
            labels=("Yes", "No"),
            summary="a language model that is asked about an answer in the next turn of the chat",
        ),
        Kind(
            "yes_no",
            "last",
            "softmax",
            "prompt",
            labels=("Yes", "No"),
            summary="a language model that is asked whether the answer is right",
        ),
        Kind(
            "rank",
            "last",
            "logit",
            "ranked",
            layers=(("cls.output",), ("cls", "cls.output")),
            bias=None,
            summary="the head that llama.cpp keeps in a GGUF file",
        ),
    )
}
TEXT_KINDS = tuple(kind.name for kind in KINDS.values() if kind.labels)  # of any language model
_HEADS = ("score.", "v_head.", "cls.", "classifier.", "regression_layer.", "value_head.")
_ANYWHERE = {"score", "v_head", "value_head", "reward_head"}  # under a name of a wrapper, too
_OTHERS = ("reward_head.", "gating.", "reward_transform_matrix")


def find_kind(name: str) -> Kind:
    """The kind of that name; raises `UnknownNameError` for an unknown one."""
    if name not in KINDS:
        raise unknown_name("kind of judge", name, KINDS)
    return KINDS[name]


def head_tensors(names: Collection[str]) -> list[str]:
    """The tensors of a file that belong to a head of a judge, sorted."""
    return sorted(
        name
        for name in names
        if name.startswith((*_HEADS, *_OTHERS)) or _ANYWHERE.intersection(name.split("."))
    )


def check_no_judge(path: Path, names: Collection[str]) -> None:
    """Raise `CheckpointError` for a judge's file that is given as a language model."""
    if head := head_tensors(names):
        raise CheckpointError(
            f"{path}: {head[0]} is the head of a judge, not of a language model; load it with "
            "edifice_tt.load_reward, or give it as --judge"
        )


def kind_of(architectures: Sequence[str], head: Collection[str]) -> Kind:
    """The kind of a folder, by the class that its config names, and by its head's tensors.

    Raises `ValueError` for a class that is unknown here, and for a language model.
    """
    for architecture in architectures:
        for kind in KINDS.values():
            if kind.architecture and architecture.endswith(kind.architecture):
                return kind
    layers = {name.rpartition(".")[0] for name in head}
    named = ", ".join(architectures)
    if layers & {*_LINEAR, *_TWO} and (not named or named.endswith("ForCausalLM")):
        return KINDS["value_head"]
    if not named and layers == {*_SCORE}:
        return KINDS["token_classifier" if "score.bias" in head else "classifier"]
    if named and not named.endswith("ForCausalLM"):
        raise ValueError(f"architectures names {named:.80}, which is no judge that is known here")
    if head:
        what = f"the head {', '.join(head):.80}"
        raise ValueError(f"{what} is of no kind that is known here; name one with kind=")
    raise ValueError(
        "a language model without the head of a judge; name how it judges by kind= or "
        f"--judge-kind ({', '.join(TEXT_KINDS)}), or give a prompt"
    )


def choose_layers(kind: Kind, head: Collection[str]) -> tuple[str, ...]:
    """The names of the head's layers that the tensors are; raises `ValueError` unless they fit."""
    for layers in kind.layers:
        must = {f"{layer}.weight" for layer in layers}
        may = {f"{layer}.bias" for layer in layers}
        if kind.bias:
            must |= may
        allowed = must if kind.bias is False else must | may
        if must <= {*head} <= allowed:
            return layers
    expected = " or ".join(
        ", ".join(
            f"{layer}.{part}"
            for layer in layers
            for part in (("weight", "bias") if kind.bias else ("weight",))
        )
        for layers in kind.layers
    )
    raise ValueError(
        f"the head of a {kind.name} is {expected}, given {', '.join(head) or 'none':.160}; "
        "download it again, or name another kind"
    )
