"""What a model family is: its names in both file formats, and where its layers have biases."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

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
GGUF, FOLDER = 0, 1  # which of the two names


@dataclass(frozen=True)
class Family:
    """A family of language models that `causal_lm` computes.

    `name` is what `general.architecture` of a GGUF file and `model_type` of a `config.json` say.
    `biases` are the projections that always have one, by the names of `BackboneConfig`;
    `bias_options` those that a key of `config.json` turns on. `rotary_pairs`: in GGUF files the
    rows of queries and keys stand as pairs (2i, 2i + 1), to be reordered. `defaults` are what a key
    of `config.json` means when it is absent.
    """

    name: str
    rotary_pairs: bool
    biases: tuple[str, ...] = ()
    bias_options: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    defaults: Mapping[str, Any] = field(default_factory=dict)
    layers: Mapping[str, tuple[str, str]] = field(default_factory=lambda: LAYERS)

    def rename(self, name: str, kind: int) -> str:
        """Our name of a weight -> the name in files of a kind, `GGUF` or `FOLDER`."""
        layer, _, attribute = name.rpartition(".")
        if layer in self.layers:
            return f"{self.layers[layer][kind]}.{attribute}"
        _, _, index, part = layer.split(".", 3)  # backbone.blocks.INDEX.PART
        return f"{self.layers[part][kind].format(index)}.{attribute}"

    def biases_in(self, names: Collection[str]) -> tuple[str, ...]:
        """The projections with a bias, of a GGUF file that holds tensors of these names."""
        optional = [part for parts in self.bias_options.values() for part in parts]
        block = "backbone.blocks.0"
        places = {part.rpartition(".")[2].removesuffix("_proj"): part for part in self.layers}
        present = (
            part for part in optional if self.rename(f"{block}.{places[part]}.bias", GGUF) in names
        )
        return (*self.biases, *present)
