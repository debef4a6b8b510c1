"""Qwen3 with experts."""

from collections.abc import Mapping
from typing import Any

from edifice_tt.weights.families.family import EXPERTS, HEAD_NORMS, LAYERS, Family, every_layer


def experts(config: Mapping[str, Any], layers: int) -> dict[str, Any]:
    """Some layers may have one feed-forward all the same."""
    step, dense = config["decoder_sparse_step"], config["mlp_only_layers"] or []
    if not isinstance(dense, list) or any(type(layer) is not int for layer in dense):
        raise ValueError(f"mlp_only_layers={dense!r:.60}, expected a list of numbers of layers")
    return {
        "experts": config["num_experts"],
        "experts_used": config["num_experts_per_tok"],
        "expert_size": config["moe_intermediate_size"],
        "experts_normed": config["norm_topk_prob"],
        "dense_layers": tuple(i for i in range(layers) if i in dense or (i + 1) % step),
    }


FAMILY = Family(
    "qwen3moe",
    model_type="qwen3_moe",
    bias_options={"attention_bias": ("q", "k", "v", "o")},
    defaults={
        "max_position_embeddings": 32768,
        "num_key_value_heads": 4,
        "use_sliding_window": False,
        "sliding_window": 4096,
        "num_experts": 128,
        "num_experts_per_tok": 8,
        "moe_intermediate_size": 768,
        "norm_topk_prob": False,
        "decoder_sparse_step": 1,
        "mlp_only_layers": [],
    },
    layers={**LAYERS, **HEAD_NORMS, **EXPERTS},
    options={"qk_norm": "head", "experts_normed": True},
    windowed=every_layer,
    experts=experts,
)
