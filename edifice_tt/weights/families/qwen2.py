"""Qwen2 and Qwen2.5: Llama with biases on queries, keys and values."""

from edifice_tt.weights.families.family import Family

FAMILY = Family(
    "qwen2",
    rotary_pairs=False,
    biases=("q", "k", "v"),
    defaults={"max_position_embeddings": 32768, "use_sliding_window": False},
)
