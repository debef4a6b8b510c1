"""OLMo 2: no norm before attention and feed-forward, one behind each."""

from edifice_tt.weights.families.family import HEAD_NORMS, LAYERS, POST_NORMS, Family

_BEFORE = ("attn_norm", "ffn_norm")

FAMILY = Family(
    "olmo2",
    bias_options={"attention_bias": ("q", "k", "v", "o")},
    defaults={"rms_norm_eps": 1e-5, "pad_token_id": 1},
    layers={
        name: names
        for name, names in {**LAYERS, **POST_NORMS, **HEAD_NORMS}.items()
        if name not in _BEFORE
    },
    options={"norms": "after", "qk_norm": "whole"},
)
