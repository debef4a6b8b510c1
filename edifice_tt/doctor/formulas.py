"""Models and inputs whose numbers are formulas, and their expected results. Nothing is random."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from tinygrad import Tensor
from tinygrad.nn.state import get_state_dict

from edifice_tt.contract.registry import build
from edifice_tt.nn.stored.halves import store

# Scores of `test_time_compute`, from an independent evaluation in float64 NumPy.
SCORES = (1.332528326, 1.300767727, 1.406340048, 1.302207478, 1.351457121)
# The draws of candidates 0 to 3 at positions 0 to 3 from `draw_logits()`, with these settings.
DRAW_SETTINGS: dict[str, Any] = {"temperature": 0.8, "top_k": 50, "top_p": 0.9, "seed": 5}
DRAWS = ((69, 25, 84, 3), (69, 21, 66, 62), (84, 84, 73, 36), (73, 66, 51, 66))


def test_time_compute(device: str) -> Any:
    """A small ported model with wave weights."""
    sizes = {"hidden_size": 16, "num_layers": 1, "num_heads": 4, "num_kv_heads": 2}
    options = {"embed_dim": 6, "scorer_hidden": 8, **sizes}
    return fill_with_waves(build("test_time_compute", device=device, **options), device)


def causal_lm(device: str, dtype: str | None = None) -> Any:
    """A small language model with wave weights; rows are multiples of 32, for 16-bit weights."""
    sizes = {"hidden_size": 32, "num_layers": 2, "num_heads": 4, "num_kv_heads": 2, "ffn_size": 64}
    options = {"vocab_size": 61, "context_length": 128, **sizes}
    return store(fill_with_waves(build("causal_lm", device=device, **options), device), dtype)


def fill_with_waves(model: Any, device: str) -> Any:
    """Fill every weight with its formula, in the order of the weights' names; returns the model."""
    for seed, (_, weight) in enumerate(sorted(get_state_dict(model).items())):
        weight.replace(Tensor(wave(weight.shape, seed), device=device).realize())
    return model


def wave(shape: tuple[int, ...], seed: int) -> NDArray[np.float32]:
    """Irregular numbers between -0.6 and 0.6, the same on every machine."""
    steps = np.arange(np.prod(shape), dtype=np.float64)
    return (0.6 * np.sin(1.7 * steps + 0.9 * seed + 0.3)).reshape(shape).astype(np.float32)


def draw_logits() -> NDArray[np.float32]:
    """Logits (97,) from -4.8 to 4.8."""
    return 8 * wave((97,), 3)
