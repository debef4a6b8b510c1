"""Phi 3 and 4: one matrix for queries, keys and values, and one for gate and up."""

from edifice_tt.weights.families.family import LAYERS, Family, every_layer

_QKV = ("blk.{}.attn_qkv", "model.layers.{}.self_attn.qkv_proj")
_GATE_UP = ("blk.{}.ffn_up", "model.layers.{}.mlp.gate_up_proj")

FAMILY = Family(
    "phi3",
    defaults={
        "pad_token_id": 32000,
        "max_position_embeddings": 4096,
        "original_max_position_embeddings": 4096,
        "rms_norm_eps": 1e-5,
        "partial_rotary_factor": 1.0,
    },
    layers={
        **LAYERS,
        **dict.fromkeys(("attn.q_proj", "attn.k_proj", "attn.v_proj"), _QKV),
        **dict.fromkeys(("ffn.gate_proj", "ffn.up_proj"), _GATE_UP),
    },
    windowed=every_layer,
)
