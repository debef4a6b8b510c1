"""A causal language model, with an optional scorer head.

It has a token embedding, the shared backbone and a language-model head, which may share the
embedding's weight. An optional scorer head reads the same hidden states at every position. Knows no
file format and no sampling.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

import numpy as np
from tinygrad import Tensor, dtypes

from edifice_tt.architectures.copies import Copies
from edifice_tt.architectures.described import Described
from edifice_tt.architectures.fingerprint import fingerprint
from edifice_tt.architectures.inputs import Given, as_numbers, check_token_ids, is_integer
from edifice_tt.architectures.room import check_buildable
from edifice_tt.contract.options import check_range, check_seed, check_size, defaults, make_config
from edifice_tt.machine.exclusive import exclusive
from edifice_tt.machine.toolchain import open_device
from edifice_tt.nn import ops
from edifice_tt.nn.backbone import Backbone
from edifice_tt.nn.blocks import Linear
from edifice_tt.nn.buffers import place
from edifice_tt.nn.cache import KVCache
from edifice_tt.nn.config import BackboneConfig, LayerOptions
from edifice_tt.nn.heads import make_head
from edifice_tt.nn.mapped import MappedFile, check_unchanged
from edifice_tt.nn.stored.blocks import QuantizedLinear
from edifice_tt.nn.stored.halves import choose_dtype, store

NAME = "causal_lm"
RECOMMENDED = ("hidden_size", "num_layers", "num_heads", "num_kv_heads", "context_length")


@dataclass(frozen=True, kw_only=True)
class CausalLMConfig(LayerOptions):
    """Options of `causal_lm`; `head_dim` and `ffn_size` 0 mean: derived from `hidden_size`.

    The options of a layer are those of `LayerOptions`.
    """

    vocab_size: int
    context_length: int = 2048
    hidden_size: int = 256
    num_layers: int = 4
    num_heads: int = 4
    num_kv_heads: int = 2
    head_dim: int = 0
    ffn_size: int = 0
    norm_eps: float = 1e-5
    embedding_scale: float = 1.0
    logits_scale: float = 1.0
    logits_softcap: float = 0.0  # logits become cap * tanh(logit / cap); 0: none
    tied_embeddings: bool = True
    biases: tuple[str, ...] = ()  # the projections that have one, as in `BackboneConfig`
    scorer: str | None = None
    scorer_hidden: int = 128
    dropout: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        for option in ("vocab_size", "context_length", "scorer_hidden"):
            check_size(option, getattr(self, option))
        check_seed(self.seed)
        if not isinstance(self.tied_embeddings, bool):
            raise ValueError(f"tied_embeddings={self.tied_embeddings!r:.60} must be True or False")
        if not isinstance(self.scorer, str | None) or self.scorer == "":
            raise ValueError(f"scorer={self.scorer!r:.60} must be the name of a scorer, or None")
        for option in ("embedding_scale", "logits_scale"):
            check_range(option, getattr(self, option))
        if self.logits_softcap != 0:
            check_range("logits_softcap", self.logits_softcap)
        # Asking for it checks the rest. A checkpoint's JSON gives lists where it has tuples.
        for option, value in vars(self.backbone).items():
            if isinstance(value, tuple):
                object.__setattr__(self, option, value)

    @property
    def backbone(self) -> BackboneConfig:
        shared = {one.name for one in fields(BackboneConfig)} & vars(self).keys()
        options = {option: getattr(self, option) for option in shared}
        return BackboneConfig(**options, final_norm="rms_norm", final_norm_eps=self.norm_eps)

    @property
    def num_weights(self) -> int:
        """The number of weights, without those of a scorer."""
        copies = 1 if self.tied_embeddings else 2
        return copies * self.vocab_size * self.hidden_size + self.backbone.num_weights


class CausalLMOutput(NamedTuple):
    """The output of a language model at every position."""

    logits: Tensor  # (B, T, V) float32
    backbone: Tensor  # (B, T, D), after the final norm
    scores: Tensor | None  # (B, T, 1), when the model has a scorer head


class CausalLM(Copies, Described):
    """The model. The loader of its weights sets `name` and `tokenizer`.

    The loader also sets `activations` ("float32": not rounded, "float16", "bfloat16" or "int8") and
    `dtype`, the type that weights were rounded to (None: as stored in the file). `kv_dtype` is what
    keys and values are kept as, "float32" or "float16"; it may be set later, too. `reload` loads
    the model once more, in another process too (None: no loader made it).
    """

    architecture = NAME
    activations = "float32"
    dtype: str | None = None
    kv_dtype = "float32"
    mapped_file: MappedFile | None = None  # the file that holds the weights
    reload: Callable[[], "CausalLM"] | None = None

    def __init__(self, config: CausalLMConfig, rng: np.random.Generator | None = None) -> None:
        self.config = config
        self.name = NAME
        self.tokenizer: Any = None
        # (V, D); a loader may replace it with a layer of quantised weights
        self.token_embedding: Linear | QuantizedLinear = Linear(
            config.hidden_size, config.vocab_size, bias=False, rng=rng
        )
        self.backbone = Backbone(config.backbone, rng)
        self.lm_head: Linear | QuantizedLinear | None = (
            None
            if config.tied_embeddings
            else Linear(config.hidden_size, config.vocab_size, bias=False, rng=rng)
        )
        self.scorer = make_head(config) if config.scorer else None

    @property
    def device(self) -> str:
        return str(self.backbone.final_norm.weight.device)

    @property
    def fingerprint(self) -> str:
        """A hash of weights and config that identifies this model."""
        return fingerprint(self)

    @exclusive
    def __call__(self, token_ids: Given) -> CausalLMOutput:
        """token_ids (B, T) int -> logits (B, T, V), backbone (B, T, D), scores (B, T, 1) or None.

        Raises `ValueError` for a wrong shape, an id outside the vocabulary, or a text longer than
        the context. Raises `CheckpointError` if a mapped file of weights has changed. Ids are not
        checked while a graph is captured.
        """
        check_unchanged(self)
        ids = self._check(token_ids)
        hidden = self.read(ids)  # (B, T, D)
        return CausalLMOutput(
            self.logits(hidden), hidden, self.scorer(hidden) if self.scorer else None
        )

    def read(
        self, given: Tensor, cache: KVCache | None = None, part: range | None = None
    ) -> Tensor:
        """Hidden states (B, T, D) of token ids (B, T) that follow the cache.

        `part` is the range of layers to run, as in `Backbone`. If it does not begin with the first
        layer, `given` are hidden states.
        """
        if not isinstance(given, Tensor):
            raise ValueError(
                f"given={given!r:.40} must be a Tensor of token ids (B, T); call the model itself "
                "with an array: lm(ids).backbone"
            )
        first = part is None or part.start == 0
        return self.backbone(self.embed(given) if first else given, cache, part)

    def embed(self, ids: Tensor) -> Tensor:
        """ids (B, T) -> (B, T, D)."""
        rows, scale = self.token_embedding.rows(ids), self.config.embedding_scale
        return rows if scale == 1 else ops.scale(rows, scale)

    def logits(self, hidden: Tensor, rows: Tensor | None = None) -> Tensor:
        """hidden (..., D) -> float32 logits (..., V); `rows` as in `ops.linear`."""
        c = self.config
        logits = (self.lm_head or self.token_embedding)(hidden, rows).cast(dtypes.float32)
        if c.logits_scale == 1 and not c.logits_softcap:
            return logits
        return ops.scale(logits, c.logits_scale, c.logits_softcap)

    def _check(self, token_ids: Given) -> Tensor:
        ids = as_numbers("token_ids", token_ids)
        if ids.ndim != 2 or 0 in ids.shape or not is_integer(ids):
            raise ValueError(
                f"token_ids has shape {ids.shape} and {ids.dtype}, expected (B, T) integers with "
                "at least one token"
            )
        if ids.shape[1] > self.config.context_length:
            raise ValueError(
                f"a text of {ids.shape[1]} tokens is longer than the model's context of "
                f"{self.config.context_length}; shorten it"
            )
        check_token_ids(ids, self.config.vocab_size)
        if isinstance(ids, Tensor):
            return ids.to(self.device)
        return Tensor(ids.astype(np.int32), device=self.device)


@exclusive
def build(*, device: str | None = None, dtype: str | None = None, **options: Any) -> CausalLM:
    """A language model with random weights; `device` as in `toolchain.open_device`.

    `dtype` stores the dense layers as `float32` (default), `float16` or `bfloat16`; see
    `precision`.
    """
    config = make_config(CausalLMConfig, NAME, options)
    opened = open_device(device)
    dtype = choose_dtype(dtype, opened)
    check_buildable(NAME, config.num_weights, opened)
    model = CausalLM(config, np.random.default_rng([config.seed, 0]))
    return store(place(model, opened), dtype)


def output_size(**options: Any) -> int:
    """The width of the hidden states: `hidden_size`."""
    return make_config(CausalLMConfig, NAME, {"vocab_size": 1, **options}).hidden_size


def recommended_defaults() -> dict[str, Any]:
    return defaults(CausalLMConfig, RECOMMENDED)
