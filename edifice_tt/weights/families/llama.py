"""Llama, and what is built like it: SmolLM2, Mistral in GGUF files, and many more."""

from edifice_tt.weights.families.family import Family

FAMILY = Family(
    "llama",
    rotary_pairs=True,
    bias_options={"attention_bias": ("q", "k", "v", "o"), "mlp_bias": ("gate", "up", "down")},
)
