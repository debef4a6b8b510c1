"""Qwen2 and Qwen2.5: Llama with biases on queries, keys and values."""

from collections.abc import Mapping
from typing import Any

from edifice_tt.weights.families.family import Family

DEFAULTS = {
    "max_position_embeddings": 32768,
    "num_key_value_heads": 32,
    "use_sliding_window": False,
    "sliding_window": 4096,
    "max_window_layers": 28,
}


def windowed(layer: int, config: Mapping[str, Any]) -> bool:
    """The first layers see all."""
    return bool(layer >= config["max_window_layers"])


FAMILY = Family("qwen2", biases=("q", "k", "v"), defaults=DEFAULTS, windowed=windowed)
