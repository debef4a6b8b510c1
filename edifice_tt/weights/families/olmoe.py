"""OLMoE: experts, and norms of queries and keys over all heads."""

from collections.abc import Mapping
from typing import Any

from edifice_tt.weights.families.family import EXPERTS, HEAD_NORMS, LAYERS, Family


def experts(config: Mapping[str, Any], layers: int) -> dict[str, Any]:
    return {
        "experts": config["num_experts"],
        "expert_size": config["intermediate_size"],
        "experts_used": config["num_experts_per_tok"],
        "experts_normed": config["norm_topk_prob"],
    }


FAMILY = Family(
    "olmoe",
    bias_options={"attention_bias": ("q", "k", "v", "o")},
    defaults={
        "pad_token_id": 1,
        "max_position_embeddings": 4096,
        "rms_norm_eps": 1e-5,
        "num_experts": 64,
        "num_experts_per_tok": 8,
        "norm_topk_prob": False,
    },
    layers={**LAYERS, **HEAD_NORMS, **EXPERTS},
    options={"qk_norm": "whole"},
    experts=experts,
)
