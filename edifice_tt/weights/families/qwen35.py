"""Qwen3.5, of which the text: most layers are recurrent, the attention of others is gated."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edifice_tt.weights.families.family import HEAD_NORMS, LAYERS, Family, gains_from_zero

_BLOCK, _PART = "blk.{}", "model.layers.{}.linear_attn"
DELTA = {
    "delta.qkv_proj": (f"{_BLOCK}.attn_qkv", f"{_PART}.in_proj_qkv"),
    "delta.z_proj": (f"{_BLOCK}.attn_gate", f"{_PART}.in_proj_z"),
    "delta.b_proj": (f"{_BLOCK}.ssm_beta", f"{_PART}.in_proj_b"),
    "delta.a_proj": (f"{_BLOCK}.ssm_alpha", f"{_PART}.in_proj_a"),
    "delta.o_proj": (f"{_BLOCK}.ssm_out", f"{_PART}.out_proj"),
    "delta.norm": (f"{_BLOCK}.ssm_norm", f"{_PART}.norm"),
    "delta.filter": (f"{_BLOCK}.ssm_conv1d.weight", f"{_PART}.conv1d.weight"),
    "delta.dt_bias": (f"{_BLOCK}.ssm_dt.bias", f"{_PART}.dt_bias"),
    "delta.decay": (f"{_BLOCK}.ssm_a", f"{_PART}.A_log"),
}
FFN_NORM = ("blk.{}.post_attention_norm", LAYERS["ffn_norm"][1])


def from_folder(name: str, array: NDArray[np.float32]) -> NDArray[np.float32]:
    """A folder has the logarithm of a decay. The norm behind a recurrence has the gain itself."""
    if name.endswith(".decay"):
        return -np.exp(array)
    return array if name.endswith(".delta.norm.weight") else gains_from_zero(name, array)


def recurrence(config: Mapping[str, Any], layers: int) -> dict[str, Any]:
    every, kinds = config["full_attention_interval"], config.get("layer_types")
    if kinds is None:
        kinds = ["linear_attention" if (i + 1) % every else "" for i in range(layers)]
    return {
        "recurrent_layers": tuple(i for i in range(layers) if kinds[i] == "linear_attention"),
        "delta_key_heads": config["linear_num_key_heads"],
        "delta_value_heads": config["linear_num_value_heads"],
        "delta_key_size": config["linear_key_head_dim"],
        "delta_value_size": config["linear_value_head_dim"],
        "delta_conv": config["linear_conv_kernel_dim"],
    }


FAMILY = Family(
    "qwen35",
    model_type="qwen3_5_text",
    wrapped_in="qwen3_5",
    bias_options={"attention_bias": ("q", "k", "v", "o")},
    defaults={
        "max_position_embeddings": 32768,
        "num_key_value_heads": 4,
        "head_dim": 256,
        "partial_rotary_factor": 0.25,
        "full_attention_interval": 4,
        "linear_num_key_heads": 16,
        "linear_num_value_heads": 32,
        "linear_key_head_dim": 128,
        "linear_value_head_dim": 128,
        "linear_conv_kernel_dim": 4,
    },
    layers={**LAYERS, **HEAD_NORMS, **DELTA, "ffn_norm": FFN_NORM},
    options={"qk_norm": "head", "gated_attention": True},
    recurrence=recurrence,
    from_folder=from_folder,
)
