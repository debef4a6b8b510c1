"""Gemma 2: norms on both sides, soft caps, and a window in every other layer."""

from collections.abc import Mapping
from typing import Any

from edifice_tt.weights.families.family import LAYERS, POST_NORMS, Family, gains_from_zero

OPTIONS = {"norms": "both", "activation": "gelu_tanh"}
DEFAULTS = {
    "pad_token_id": 0,
    "head_dim": 256,
    "num_key_value_heads": 4,
    "hidden_activation": "gelu_pytorch_tanh",
    "query_pre_attn_scalar": 256,
    "tie_word_embeddings": True,
    "sliding_window": 4096,
}
SCALARS = ("query_pre_attn_scalar", "attn_logit_softcapping", "final_logit_softcapping")
BIASES = {"attention_bias": ("q", "k", "v", "o")}


def derived(options: Mapping[str, Any], layers_of_27b: int = 46) -> dict[str, float]:
    """The scales that are no keys of a GGUF file. The largest models have one of their own."""
    D, heads = options["hidden_size"], options["num_heads"]
    per_head = D // heads if options["num_layers"] == layers_of_27b else options["head_dim"]
    return {"embedding_scale": D**0.5, "attention_scale": per_head**-0.5}


FAMILY = Family(
    "gemma2",
    bias_options=BIASES,
    defaults={
        **DEFAULTS,
        "max_position_embeddings": 8192,
        "attn_logit_softcapping": 50.0,
        "final_logit_softcapping": 30.0,
    },
    layers={**LAYERS, **POST_NORMS},
    options=OPTIONS,
    derived=derived,
    scalars=SCALARS,
    windowed=lambda layer, config: layer % 2 == 0,
    from_folder=gains_from_zero,
)
