"""What a file asks of its model that is not computed here, refused by name. Reads no weight.

An option that changes no number is nobody's business, and so is one whose value asks for nothing.
"""

import math
import sys
from collections.abc import Iterable, Mapping
from typing import Any

from edifice_tt.weights.families.family import SCALARS, Family, every_layer

_LARGEST = sys.float_info.max
# Options of `config.json`, of whatever model, and the values that leave the numbers as they are.
# One that is not here either is computed, or changes nothing; null always asks for nothing.
_FOLDER: dict[str, tuple[Any, ...]] = {
    "position_embedding_type": ("rope", "rotary"),
    **dict.fromkeys(("is_causal", "use_rope", "scale_attn_weights"), (True,)),
    **dict.fromkeys(
        (
            *("attention_bias", "mlp_bias", "qkv_bias", "attention_out_bias", "use_bias", "bias"),
            *("use_qk_norm", "qk_norm", "qk_layernorm", "rope_interleaved", "alibi"),
            *("is_encoder_decoder", "add_cross_attention", "attn_temperature_tuning"),
            *("parallel_attn", "use_parallel_residual", "scale_attn_by_inverse_layer_idx"),
            *("attn_logit_softcapping", "final_logit_softcapping", "logit_softcapping"),
            *("use_bidirectional_attention",),
            *("clip_qkv", "clamp_kqv", "max_alibi_bias", "attention_chunk_size"),
            *("num_experts", "num_local_experts", "n_routed_experts"),
        ),
        (False,),
    ),
    **dict.fromkeys(
        (
            *("embedding_multiplier", "residual_multiplier", "logits_scaling", "logit_scale"),
            *("lm_head_multiplier", "key_multiplier", "scale_emb", "embedding_scale"),
            *("residual_scale", "partial_rotary_factor", "rotary_pct"),
        ),
        (1,),
    ),
    **dict.fromkeys(("scale_depth", "dim_model_base", "quantization_config"), ()),
    **dict.fromkeys(("no_rope_layer_interval", "pruned_heads"), (0, {})),
}

# Keys of a GGUF file behind the family's name: those that are computed, and those that change no
# number where the rest is as it must be.
_KNOWN = (
    *("block_count", "context_length", "embedding_length", "feed_forward_length", "vocab_size"),
    *("attention.head_count", "attention.head_count_kv", "attention.key_length", "pooling_type"),
    *("attention.layer_norm_rms_epsilon", "attention.layer_norm_epsilon", "expert_used_count"),
    *("rope.dimension_count", "rope.freq_base", "rope.scale_linear", "rope.scaling.type"),
    *("rope.scaling.factor", "rope.scaling.finetuned", "rope.scaling.original_context_length"),
    *("rope.scaling.attn_factor", "classifier.output_labels"),
    *("rope.scaling.yarn_beta_fast", "rope.scaling.yarn_beta_slow"),
)
# And those that may stand there with such a value; 0 is none, as in llama.cpp.
_FILE: dict[str, tuple[Any, ...]] = {
    "attention.causal": (True,),
    "tensor_data_layout": ("reference", "Meta AI original pth"),
    "rope.scaling.yarn_attn_factor": (1, -1),
    "rope.scaling.yarn_ext_factor": (0, -1),
    **dict.fromkeys(("logit_scale", "embedding_scale", "residual_scale"), (1, 0)),
    **dict.fromkeys(
        (
            *("use_parallel_residual", "expert_count", "expert_shared_count"),
            *("leading_dense_block_count", "nextn_predict_layers"),
            *("attention.max_alibi_bias", "attention.clamp_kqv"),
            *("attn_logit_softcapping", "final_logit_softcapping"),
            *("rope.scaling.yarn_log_multiplier", "rope.scaling.alpha"),
        ),
        (0,),
    ),
}
# Those of recurrent layers. A text has one position where an image has three (`sections`), and the
# layers that guess several tokens ahead (`nextn`) are left out.
RECURRENCE = {
    *("ssm.conv_kernel", "ssm.state_size", "ssm.group_count", "ssm.time_step_rank"),
    *("ssm.inner_size", "full_attention_interval", "attention.recurrent_layers"),
    *("rope.dimension_sections", "nextn_predict_layers"),
}


def check_folder(config: Mapping[str, Any], family: Family, head_dim: int, context: int) -> None:
    """Raise `ValueError` for an option of a `config.json` that asks for other numbers."""
    scale = {"attention_multiplier": (head_dim**-0.5,), "query_pre_attn_scalar": (head_dim,)}
    computed = {*family.bias_options, *family.scalars, *family.defaults}
    computed |= {"num_local_experts"} if family.experts else set()
    neutral = {key: one for key, one in (_FOLDER | scale).items() if key not in computed}
    _check(config, neutral)
    if family.windowed is None:
        if config.get("use_sliding_window", True) not in (False, None):
            _check_window("sliding_window", config, context)
        if family.recurrence is None:
            _check_all("layer_types", "full_attention", config)
    elif config.get("sliding_window") is not None:
        if "use_sliding_window" not in family.defaults:
            _check(config, {"use_sliding_window": (True,)})
        if family.windowed is every_layer:
            _check_all("layer_types", "sliding_attention", config)
    if family.unrotated is None:
        _check_all("no_rope_layers", 1, config)


def _check_all(key: str, plain: Any, config: Mapping[str, Any]) -> None:
    kinds = [] if config.get(key) is None else config[key]
    if not isinstance(kinds, list) or any(one != plain for one in kinds):
        raise _refused(key, kinds, (f"{plain} for every layer",))


def check_file(metadata: Mapping[str, Any], family: Family, head_dim: int, context: int) -> None:
    """Raise `ValueError` for a key of a GGUF file that asks for other numbers, or may do so."""
    neutral = {"attention.value_length": (head_dim,), "attention.scale": (0, head_dim**-0.5)}
    computed = {SCALARS[key].gguf for key in family.scalars}
    if family.windowed is not None:
        computed |= {"attention.sliding_window", "attention.sliding_window_pattern"}
        computed |= {"rope.freq_base_swa"}
    if family.experts is not None:
        computed |= {"expert_count", "expert_feed_forward_length"}
    if family.recurrence is not None:
        computed |= RECURRENCE
    name, neutral = family.name, _FILE | neutral
    neutral = {f"{name}.{key}": one for key, one in neutral.items() if key not in computed}
    _check(metadata, neutral)
    if family.windowed is None:
        window = f"{name}.attention.sliding_window"
        _check_window(window, metadata, context)
        neutral[window] = ()
    known = {*neutral, *(f"{name}.{key}" for key in (*_KNOWN, *computed))}
    unknown = sorted(key for key in metadata if key.startswith(f"{name}.") and key not in known)
    if unknown:
        raise ValueError(
            f"the key {unknown[0]!r:.60} is unknown here and may change the numbers; if it does "
            f"not, remove it (gguf_new_metadata.py --remove-metadata {unknown[0]:.60})"
        )


def _check(given: Mapping[str, Any], neutral: Mapping[str, tuple[Any, ...]]) -> None:
    for key, values in neutral.items():
        value = given.get(key)
        if value is not None and not any(_same(value, one) for one in values):
            raise _refused(key, value, values)


def _check_window(key: str, given: Mapping[str, Any], context: int) -> None:
    value = 0 if given.get(key) is None else given[key]
    if not isinstance(value, int) or 0 < value < context:
        raise _refused(key, value, (f"0 or the context of {context} and more",))


def _same(value: Any, neutral: Any) -> bool:
    if isinstance(value, int | float) and isinstance(neutral, int | float):
        if abs(value) > 1e300:  # more than a float holds, perhaps
            return False
        return math.isclose(value, neutral, rel_tol=1e-6)  # the files hold float32
    return bool(value == neutral)


def _refused(key: str, value: Any, supported: Iterable[Any]) -> ValueError:
    listing = ", ".join(map(str, supported)) or "none"
    return ValueError(f"{key}={value!r:.60} is not supported; supported: {listing}")


def check_positive(key: str, value: Any, kind: type[int] | type[float]) -> Any:
    """The number; raises `ValueError` for anything else, naming the key."""
    accepted = int if kind is int else (int, float)
    # Not infinite, nor a whole number that no float holds.
    if isinstance(value, bool) or not isinstance(value, accepted) or not 0 < value <= _LARGEST:
        raise ValueError(f"{key}={value!r:.60}, expected a positive {kind.__name__}")
    return kind(value)
