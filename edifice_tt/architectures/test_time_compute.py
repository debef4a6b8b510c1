"""`Edifice.Meta.TestTimeCompute`, ported number for number.

A GQA + RoPE + SwiGLU backbone with a scorer head on its hidden states, and the choice among N
scores. `docs/edifice.md` says where it differs from the original. Source: Edifice 0.2.0 (Elixir),
after Snell et al., 2024, arXiv:2408.03314.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from tinygrad import Tensor, dtypes

from edifice_tt.architectures.copies import Copies
from edifice_tt.architectures.described import Described
from edifice_tt.architectures.inputs import Given, as_numbers, is_integer
from edifice_tt.architectures.room import check_buildable
from edifice_tt.contract.options import check_seed, check_size, defaults, make_config
from edifice_tt.machine.exclusive import exclusive
from edifice_tt.machine.toolchain import open_device
from edifice_tt.nn.backbone import Backbone
from edifice_tt.nn.blocks import Linear
from edifice_tt.nn.buffers import place
from edifice_tt.nn.cache import KVCache
from edifice_tt.nn.config import BackboneConfig
from edifice_tt.nn.heads import make_head
from edifice_tt.nn.stored.halves import choose_dtype, store

NAME = "test_time_compute"
SIZES = ("hidden_size", "num_layers", "num_heads", "num_kv_heads")
RECOMMENDED = (*SIZES, "scorer_hidden", "dropout")


@dataclass(frozen=True)
class TestTimeComputeConfig:
    """Options of `test_time_compute`; the first seven are the original's.

    `seq_len` is recorded and never enforced, as in the original: any length runs.
    """

    embed_dim: int
    hidden_size: int = 256
    num_layers: int = 4
    num_heads: int = 4
    num_kv_heads: int = 2
    scorer_hidden: int = 128
    dropout: float = 0.1
    seq_len: int = 60
    scorer: str = "mlp"
    seed: int = 0

    def __post_init__(self) -> None:
        for option in ("embed_dim", "scorer_hidden", "seq_len"):
            check_size(option, getattr(self, option))
        check_seed(self.seed)
        _ = self.backbone  # checks the rest

    @property
    def backbone(self) -> BackboneConfig:
        return BackboneConfig(**{name: getattr(self, name) for name in (*SIZES, "dropout")})

    @property
    def num_weights(self) -> int:
        """The number of weights, without those of the scorer."""
        projection = self.embed_dim * self.hidden_size if self.embed_dim != self.hidden_size else 0
        return projection + self.backbone.num_weights


class TestTimeComputeOutput(NamedTuple):
    """Hidden states, and one score per position."""

    backbone: Tensor  # (B, T, D), after the final norm
    scores: Tensor  # (B, T, 1), no activation


class TestTimeCompute(Copies, Described):
    """Input projection (only when `embed_dim != hidden_size`), backbone, scorer head."""

    architecture = NAME

    def __init__(
        self, config: TestTimeComputeConfig, rng: np.random.Generator | None = None
    ) -> None:
        self.config = config
        self.input_projection = None
        if config.embed_dim != config.hidden_size:
            self.input_projection = Linear(config.embed_dim, config.hidden_size, rng=rng)
        self.backbone = Backbone(config.backbone, rng)
        self.scorer = make_head(config)

    @property
    def device(self) -> str:
        return str(self.backbone.final_norm.weight.device)

    @exclusive
    def __call__(self, x: Given, cache: KVCache | None = None) -> TestTimeComputeOutput:
        """x (B, T, embed_dim) -> backbone (B, T, D), scores (B, T, 1).

        With a cache, x continues its positions, as in `Backbone`. Raises `ValueError` for a wrong
        shape; the original fails inside a layer.
        """
        inputs = as_numbers("input", x)
        if inputs.ndim != 3 or inputs.shape[2] != self.config.embed_dim or 0 in inputs.shape:
            raise ValueError(
                f"input has shape {inputs.shape}, expected (batch, tokens, "
                f"embed_dim={self.config.embed_dim}) with at least one of each"
            )
        if not isinstance(inputs, Tensor):
            inputs = Tensor(inputs.astype(np.float32))
        x = inputs.to(self.device)
        if is_integer(x):
            x = x.cast(dtypes.float32)
        if self.input_projection is not None:
            x = self.input_projection(x)  # (B, T, D)
        hidden = self.backbone(x, cache)  # (B, T, D)
        return TestTimeComputeOutput(hidden, self.scorer(hidden))


@exclusive
def build(
    *, device: str | None = None, dtype: str | None = None, **options: Any
) -> TestTimeCompute:
    """Build the model with glorot-uniform kernels, zero biases and unit gains.

    `window_size` is used if `seq_len` is not given, as in the original. Stricter than the original:
    sizes below 1, heads that do not divide and an odd head size raise `ValueError`, and
    `final_norm` starts at ones instead of at random. `dtype` stores the dense layers as `float32`
    (default), `float16` or `bfloat16`; see `precision`.
    """
    if "window_size" in options:
        options = {"seq_len": options["window_size"], **options}
        del options["window_size"]
    config = make_config(TestTimeComputeConfig, NAME, options)
    opened = open_device(device)
    dtype = choose_dtype(dtype, opened)
    check_buildable(NAME, config.num_weights, opened)
    model = TestTimeCompute(config, np.random.default_rng([config.seed, 0]))
    return store(place(model, opened), dtype)


def output_size(**options: Any) -> int:
    """The width of the hidden states: `hidden_size`."""
    return make_config(TestTimeComputeConfig, NAME, {"embed_dim": 1, **options}).hidden_size


def recommended_defaults() -> dict[str, Any]:
    """The original's defaults, in the original order."""
    return defaults(TestTimeComputeConfig, RECOMMENDED)


def select_best_of_n(scores: Given) -> Tensor:
    """The index of the best of N scores: (N, ...) -> (...) int32; the lowest index wins ties.

    `scores` is a Tensor, an array or nested lists.
    Stricter than the original: a NaN score never wins over a number (there it wins over
    everything); if all N are NaN, the index is 0. Raises `ValueError` for a scalar or N = 0.
    Source: Edifice.Meta.TestTimeCompute.select_best_of_n.

    >>> select_best_of_n(Tensor([[0.1, 0.5], [0.9, 0.2], [0.3, 0.8]])).tolist()
    [1, 2]
    """
    scores = as_numbers("scores", scores)
    if scores.ndim < 1 or scores.shape[0] < 1:
        raise ValueError(f"scores has shape {scores.shape}, expected (N, ...) with N at least 1")
    open_device()
    if not isinstance(scores, Tensor):  # here, where float64 is exact on every device
        numbers = np.nan_to_num(scores, nan=-np.inf, posinf=np.inf, neginf=-np.inf)
        return Tensor(np.asarray(numbers.argmax(0), np.int32))
    best = scores.isnan().where(-float("inf"), scores).max(0)  # (...)
    return (scores == best).cast(dtypes.int32).argmax(0).cast(dtypes.int32)
