"""What a model family is: its names in both file formats, and what its layers do differently."""

from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from math import prod
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray
from tinygrad import Tensor

from edifice_tt.weights.safetensors import foreign

# Our name of a layer -> its name in GGUF files, and in Hugging Face folders; `{}` is the number of
# the block. Each layer has a `.weight`, and some a `.bias`.
LAYERS = {
    "token_embedding": ("token_embd", "model.embed_tokens"),
    "attn_norm": ("blk.{}.attn_norm", "model.layers.{}.input_layernorm"),
    "attn.q_proj": ("blk.{}.attn_q", "model.layers.{}.self_attn.q_proj"),
    "attn.k_proj": ("blk.{}.attn_k", "model.layers.{}.self_attn.k_proj"),
    "attn.v_proj": ("blk.{}.attn_v", "model.layers.{}.self_attn.v_proj"),
    "attn.o_proj": ("blk.{}.attn_output", "model.layers.{}.self_attn.o_proj"),
    "ffn_norm": ("blk.{}.ffn_norm", "model.layers.{}.post_attention_layernorm"),
    "ffn.gate_proj": ("blk.{}.ffn_gate", "model.layers.{}.mlp.gate_proj"),
    "ffn.up_proj": ("blk.{}.ffn_up", "model.layers.{}.mlp.up_proj"),
    "ffn.down_proj": ("blk.{}.ffn_down", "model.layers.{}.mlp.down_proj"),
    "backbone.final_norm": ("output_norm", "model.norm"),
    "lm_head": ("output", "lm_head"),
}
# Norms that some families have, by these names or by others.
HEAD_NORMS = {
    "attn.q_norm": ("blk.{}.attn_q_norm", "model.layers.{}.self_attn.q_norm"),
    "attn.k_norm": ("blk.{}.attn_k_norm", "model.layers.{}.self_attn.k_norm"),
}
POST_NORMS = {
    "attn_post_norm": ("blk.{}.post_attention_norm", "model.layers.{}.post_attention_layernorm"),
    "ffn_norm": ("blk.{}.ffn_norm", "model.layers.{}.pre_feedforward_layernorm"),
    "ffn_post_norm": ("blk.{}.post_ffw_norm", "model.layers.{}.post_feedforward_layernorm"),
}
# Of experts a GGUF file has one tensor for all, a folder one for each.
EXPERTS = {
    "experts.router": ("blk.{}.ffn_gate_inp", "model.layers.{}.mlp.gate"),
    **{
        f"experts.{part}_proj": (
            f"blk.{{}}.ffn_{part}_exps",
            f"model.layers.{{}}.mlp.experts.EXPERT.{part}_proj",
        )
        for part in ("gate", "up", "down")
    },
}
# How names begin in a folder that holds more than the text, and what else it may hold: what sees,
# and what guesses several tokens ahead.
_WRAPPED = {
    "model.language_model.": "model.",
    "language_model.model.": "model.",
    "language_model.lm_head.": "lm_head.",
}
_BESIDE_TEXT = (
    *("model.visual.", "visual.", "model.vision_tower.", "vision_tower.", "mtp.", "model.mtp."),
    *("model.multi_modal_projector.", "multi_modal_projector."),
)
GGUF, FOLDER = 0, 1  # which of the two names


class Place(NamedTuple):
    """Where a weight lies: the tensor of a file, and which of its rows."""

    name: str
    rows: slice


Places: TypeAlias = list[Place]  # of a weight that is several tensors, one behind the other


def found_in(
    shapes: Mapping[str, tuple[int, ...]], places: Mapping[str, Places], experts: int = 0
) -> dict[str, tuple[int, ...]]:
    """The shapes of a file's tensors by our names; of what is nobody's or does not fit, by theirs.

    A tensor of three axes holds the matrices of all `experts`, one behind the other; or its second
    is one, and counts for nothing. Of a matrix
    that is several of ours, each gets its rows; of several that are one of ours, their rows are
    added up.
    """
    shapes = {
        name: (prod(shape[:2]), shape[2])
        if len(shape) == 3 and (shape[0] == experts or shape[1] == 1)
        else shape
        for name, shape in shapes.items()
    }
    users = Counter(place.name for parts in places.values() for place in parts)
    sizes: dict[str, int] = {}  # the rows that all of ours have in a tensor
    for parts in places.values():
        sizes |= {one.name: max(sizes.get(one.name, 0), one.rows.stop) for one in parts}
    taken: set[str] = set()
    found: dict[str, tuple[int, ...]] = {}
    for name, parts in places.items():
        theirs = [shapes[one.name] for one in parts if one.name in shapes]
        shared = any(users[one.name] > 1 for one in parts)
        whole = len(theirs) == len(parts) and len({shape[1:] for shape in theirs}) == 1
        if shared and whole and theirs[0][0] == sizes[parts[0].name]:
            found[name] = (parts[0].rows.stop - parts[0].rows.start, *theirs[0][1:])
        elif not shared and whole:
            found[name] = (sum(shape[0] for shape in theirs), *theirs[0][1:]) if theirs[0] else ()
        else:
            continue
        taken |= {one.name for one in parts}
    return found | {
        foreign(name, places): shape for name, shape in shapes.items() if name not in taken
    }


def reorder_rows(weight: NDArray[Any], num_heads: int) -> None:
    """Reorder each head's rows, in place, from rotary pairs (2i, 2i+1) to pairs (i, i + E/2)."""
    for head in weight.reshape(num_heads, -1, weight[0].size):
        head[:] = np.concatenate([head[0::2], head[1::2]])


def gains_from_zero(name: str, array: NDArray[np.float32]) -> NDArray[np.float32]:
    """For `Family.from_folder`: the gains of norms are what is added to one."""
    return array + np.float32(1) if name.endswith("norm.weight") else array


class Scalar(NamedTuple):
    """A number of a file that scales or caps: its keys in both formats, and what it is to us."""

    gguf: str
    option: str
    convert: Callable[[float], float] = float


# By its key of `config.json`.
SCALARS = {
    "attn_logit_softcapping": Scalar("attn_logit_softcapping", "attention_softcap"),
    "final_logit_softcapping": Scalar("final_logit_softcapping", "logits_softcap"),
    "query_pre_attn_scalar": Scalar("", "attention_scale", lambda size: size**-0.5),
    "attention_multiplier": Scalar("attention.scale", "attention_scale"),
    "embedding_multiplier": Scalar("embedding_scale", "embedding_scale"),
    "residual_multiplier": Scalar("residual_scale", "residual_scale"),
    "logits_scaling": Scalar("logit_scale", "logits_scale", lambda divisor: 1 / divisor),
}


def every_layer(layer: int, config: Mapping[str, Any]) -> bool:
    """For `Family.windowed`: where there is a window, all layers have it."""
    return True


@dataclass(frozen=True)
class Family:
    """A family of language models that `causal_lm` computes.

    `name` is what `general.architecture` of a GGUF file says, and `model_type` what that key of a
    `config.json` says (by default the name). `layers` that share a name there are one matrix, whose
    rows stand in their order here. `biases` are the projections that always have one, by the names
    of `BackboneConfig`; `bias_options` those that a key of `config.json` turns on. `rotary_pairs`:
    in GGUF files the rows of queries and keys stand as pairs (2i, 2i + 1), to be reordered.
    `from_folder` makes our numbers of a folder's, by our name of a weight. `wrapped_in` is the
    `model_type` of folders that hold more than the text, which is then their `text_config`.

    `defaults` are what a key of `config.json` means when it is absent. `options` are those of
    `causal_lm` that all models of the family have, `derived` those that follow from these.
    `scalars` are the keys of `SCALARS` that it knows. `windowed` tells, from the number of a layer
    and the file's keys, whether it has a window where the file does not say so; `unrotated`
    likewise. `experts` are the options of a mixture, from the keys of `config.json` and the number
    of layers; `recurrence` those of recurrent layers.
    """

    name: str
    rotary_pairs: bool = False
    model_type: str = ""
    biases: tuple[str, ...] = ()
    bias_options: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    defaults: Mapping[str, Any] = field(default_factory=dict)
    layers: Mapping[str, tuple[str, str]] = field(default_factory=lambda: LAYERS)
    options: Mapping[str, Any] = field(default_factory=dict)
    derived: Callable[[Mapping[str, Any]], Mapping[str, Any]] = lambda options: {}
    scalars: tuple[str, ...] = ()
    experts: Callable[[Mapping[str, Any], int], Mapping[str, Any]] | None = None
    windowed: Callable[[int, Mapping[str, Any]], bool] | None = None
    unrotated: Callable[[int, Mapping[str, Any]], bool] | None = None
    recurrence: Callable[[Mapping[str, Any], int], Mapping[str, Any]] | None = None
    from_folder: Callable[[str, NDArray[np.float32]], NDArray[np.float32]] = lambda name, array: (
        array
    )
    wrapped_in: str = ""

    def rename(self, name: str, kind: int) -> str:
        """Our name of a weight -> the name in files of a kind, `GGUF` or `FOLDER`."""
        layer, _, attribute = name.rpartition(".")
        if layer in self.layers:
            return f"{self.layers[layer][kind]}.{attribute}"
        _, _, index, part = name.split(".", 3)  # backbone.blocks.INDEX.PART
        if part in self.layers:  # a weight that is no layer's
            return self.layers[part][kind].format(index)
        return f"{self.layers[part.rpartition('.')[0]][kind].format(index)}.{attribute}"

    def of_text(self, name: str) -> str | None:
        """A name in a folder as one of the text alone has it; None for what no text reaches."""
        if not self.wrapped_in:
            return name
        for wrapped, own in _WRAPPED.items():
            if name.startswith(wrapped):
                return own + name.removeprefix(wrapped)
        return None if name.startswith(_BESIDE_TEXT) else name

    def places(self, weights: Mapping[str, Tensor], kind: int, experts: int) -> dict[str, Places]:
        """Where each of our weights lies in files of a kind, in which each expert has its own."""
        places: dict[str, Places] = {}
        rows: dict[str, int] = {}
        for name, weight in weights.items():
            theirs, size = self.rename(name, kind), int(weight.shape[0])
            names = [theirs]
            if "EXPERT" in theirs:
                names = [theirs.replace("EXPERT", str(expert)) for expert in range(experts)]
            places[name] = []
            for one in names:
                start = rows.get(one, 0)
                rows[one] = start + size // len(names)
                places[name].append(Place(one, slice(start, rows[one])))
        return places

    def biases_in(self, names: Collection[str]) -> tuple[str, ...]:
        """The projections with a bias, of a GGUF file that holds tensors of these names."""
        optional = [part for parts in self.bias_options.values() for part in parts]
        block = "backbone.blocks.0"
        places = {part.rpartition(".")[2].removesuffix("_proj"): part for part in self.layers}
        present = (
            part for part in optional if self.rename(f"{block}.{places[part]}.bias", GGUF) in names
        )
        return (*self.biases, *present)
