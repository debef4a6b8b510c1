"""SmolLM3: Llama of which every fourth layer is not rotated."""

from collections.abc import Mapping
from typing import Any

from edifice_tt.weights.families.family import Family


def unrotated(layer: int, config: Mapping[str, Any]) -> bool:
    if (rotated := config.get("no_rope_layers")) is not None:
        return not rotated[layer]
    return bool((layer + 1) % config["no_rope_layer_interval"] == 0)


FAMILY = Family(
    "smollm3",
    rotary_pairs=True,
    bias_options={"attention_bias": ("q", "k", "v", "o"), "mlp_bias": ("gate", "up", "down")},
    defaults={
        "pad_token_id": 128004,
        "max_position_embeddings": 32768,
        "num_key_value_heads": 4,
        "rope_theta": 2e6,
        "tie_word_embeddings": True,
        "no_rope_layer_interval": 4,
        "use_sliding_window": False,
    },
    windowed=unrotated,
    unrotated=unrotated,
)
