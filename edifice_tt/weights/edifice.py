"""Parameters of the Elixir library, both ways, bit for bit.

Its names and layout (dense kernels are [in, out], an rms gamma doubles its layer's name) are a
table here and nowhere else.
"""

import os
from typing import Any

import numpy as np
from tinygrad import Tensor
from tinygrad.nn.state import get_state_dict

from edifice_tt.architectures.test_time_compute import NAME, TestTimeCompute
from edifice_tt.contract import registry
from edifice_tt.contract.errors import EdificeError
from edifice_tt.machine.exclusive import exclusive
from edifice_tt.weights.safetensors import (
    check_fit,
    differences,
    fill,
    foreign,
    open_safetensors,
    write_safetensors,
)

_DENSE = {
    "attn.q_proj": "attn_q_proj",
    "attn.k_proj": "attn_k_proj",
    "attn.v_proj": "attn_v_proj",
    "attn.o_proj": "attn_out_proj",
    "ffn.gate_proj": "ffn_gate",
    "ffn.up_proj": "ffn_up",
    "ffn.down_proj": "ffn_down",
}
_TOP = {
    "input_projection": "input_projection",
    "scorer.dense1": "scorer_dense1",
    "scorer.dense2": "scorer_dense2",
}


def edifice_name(name: str) -> str:
    """The original's name of one of our weights.

    >>> edifice_name("backbone.blocks.0.attn.o_proj.weight")
    'ttc_block_1_attn_out_proj.kernel'
    >>> edifice_name("backbone.blocks.1.ffn_norm.weight")
    'ttc_block_2_ffn_norm.ttc_block_2_ffn_norm_gamma'
    """
    layer, _, kind = name.rpartition(".")
    if layer == "backbone.final_norm":
        return f"final_norm.{'gamma' if kind == 'weight' else 'beta'}"
    parameter = "kernel" if kind == "weight" else "bias"
    if layer in _TOP:
        return f"{_TOP[layer]}.{parameter}"
    _, _, index, part = layer.split(".", 3)
    block = f"ttc_block_{int(index) + 1}"
    if part in _DENSE:
        return f"{block}_{_DENSE[part]}.{parameter}"
    return f"{block}_{part}.{block}_{part}_gamma"


@exclusive
def load_edifice(path: str | os.PathLike[str], **options: Any) -> TestTimeCompute:
    """Build `test_time_compute` and give it the original's parameters from a safetensors file.

    `options` are those of `build`; they must be the ones that the parameters were made with (the
    shapes show the sizes, but not how many heads share them). Tensors whose names have no dot, such
    as a recorded `input`, are no parameters and are left alone.

    Raises `CheckpointError` for a damaged file and with all differences in names, shapes and dtypes
    at once; nothing moves before all agree.
    """
    model: TestTimeCompute = registry.build(NAME, **options)
    weights = get_state_dict(model)
    _check_head(model)
    file = open_safetensors(path)
    theirs = {edifice_name(name): name for name in weights}
    stored = {
        theirs.get(name, foreign(name, weights)): (_our_shape(name, entry.shape), entry.dtype)
        for name, entry in file.entries.items()
        if "." in name
    }
    check_fit(file.path, differences(weights, stored))
    fill(weights, {ours: name for name, ours in theirs.items()}, file, _transpose_kernel)
    return model


@exclusive
def save_edifice(model: Any, path: str | os.PathLike[str]) -> None:
    """Write a `test_time_compute` model's weights as the original's parameters, atomically.

    Raises `EdificeError` for another architecture or another head than `mlp`, which the original
    does not have.
    """
    if getattr(model, "architecture", None) != NAME:
        raise EdificeError(f"only a {NAME} model has parameters of the original; use save instead")
    _check_head(model)
    names = {edifice_name(name): weight for name, weight in get_state_dict(model).items()}
    tensors = {name: _transpose_kernel(name, names[name]) for name in sorted(names)}
    write_safetensors(path, tensors, {})


def _check_head(model: Any) -> None:
    if model.config.scorer != "mlp":
        raise EdificeError(
            f"the original has only the scorer head 'mlp', given {model.config.scorer!r}; "
            "use save and load instead"
        )


def _our_shape(name: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    return shape[::-1] if name.endswith(".kernel") else shape


def _transpose_kernel(name: str, tensor: Tensor) -> Tensor:
    """[in, out] <-> (out, in), on the host: a copy, so not a bit changes."""
    if not name.endswith(".kernel"):
        return tensor
    return Tensor(np.ascontiguousarray(tensor.numpy().T), device=tensor.device).realize()
