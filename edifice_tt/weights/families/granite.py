"""Granite: Llama with four multipliers."""

from edifice_tt.weights.families.family import Family

FAMILY = Family(
    "granite",
    rotary_pairs=True,
    bias_options={"attention_bias": ("q", "k", "v", "o"), "mlp_bias": ("gate", "up", "down")},
    defaults={"attention_multiplier": 1.0},
    scalars=(
        *("attention_multiplier", "embedding_multiplier"),
        *("residual_multiplier", "logits_scaling"),
    ),
)
