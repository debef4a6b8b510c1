"""Qwen3: Llama with norms of each head's queries and keys."""

from edifice_tt.weights.families.family import HEAD_NORMS, LAYERS, Family
from edifice_tt.weights.families.qwen2 import DEFAULTS, windowed

FAMILY = Family(
    "qwen3",
    bias_options={"attention_bias": ("q", "k", "v", "o")},
    defaults={**DEFAULTS, "head_dim": 128},
    layers={**LAYERS, **HEAD_NORMS},
    options={"qk_norm": "head"},
    windowed=windowed,
)
