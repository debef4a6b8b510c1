"""Gemma 3, of which the text: two rotations, and norms of each head's queries and keys."""

from functools import partial

from edifice_tt.weights.families import gemma2
from edifice_tt.weights.families.family import (
    HEAD_NORMS,
    LAYERS,
    POST_NORMS,
    Family,
    gains_from_zero,
)

FAMILY = Family(
    "gemma3",
    model_type="gemma3_text",
    wrapped_in="gemma3",
    bias_options=gemma2.BIASES,
    defaults={
        **gemma2.DEFAULTS,
        "vocab_size": 262208,
        "num_attention_heads": 8,
        "max_position_embeddings": 131072,
        "rope_theta": 1e6,
        "rope_local_base_freq": 1e4,
        "sliding_window_pattern": 6,
    },
    layers={**LAYERS, **POST_NORMS, **HEAD_NORMS},
    options={**gemma2.OPTIONS, "qk_norm": "head"},
    derived=partial(gemma2.derived, layers_of_27b=62),
    scalars=("query_pre_attn_scalar", "final_logit_softcapping"),
    windowed=lambda layer, config: (layer + 1) % config["sliding_window_pattern"] != 0,
    from_folder=gains_from_zero,
)
