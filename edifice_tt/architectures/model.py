"""What every model has in common, and `build`, which makes one by name with its own type."""

from typing import TYPE_CHECKING, Any, Literal, Protocol, overload

from tinygrad import Tensor

from edifice_tt.architectures.inputs import Given
from edifice_tt.contract import registry

if TYPE_CHECKING:
    from edifice_tt.architectures.causal_lm import CausalLM
    from edifice_tt.architectures.test_time_compute import TestTimeCompute


class Output(Protocol):
    """What a model returns; each architecture has more beside it."""

    @property
    def backbone(self) -> Tensor:
        """The hidden states (B, T, D), after the final norm."""


class Model(Protocol):
    """A model of any architecture; one of a plugin need not have `scorer` and `device`.

    Its Tensor attributes are its weights. `isinstance` of `CausalLM` or `TestTimeCompute` tells a
    type checker which it is.
    """

    @property
    def architecture(self) -> str:
        """The registered name."""

    @property
    def config(self) -> Any:
        """A dataclass of the options that build it."""

    @property
    def device(self) -> str:
        """The tinygrad device that holds its weights."""

    scorer: Any  # the head, or None

    def __call__(self, x: Given, /) -> Output:
        """Inputs of B texts of T tokens -> hidden states, and what else it computes of them."""


@overload
def build(name: Literal["causal_lm"], **options: Any) -> "CausalLM": ...
@overload
def build(name: Literal["test_time_compute"], **options: Any) -> "TestTimeCompute": ...
@overload
def build(name: str, **options: Any) -> Model: ...
def build(name: str, **options: Any) -> Model:
    """Build an architecture by name.

    `input_size`, `input_dim` and `obs_size` are accepted for `embed_dim`, as in the original.
    Raises `UnknownNameError` for an unknown architecture or option (with the nearest known one) and
    `ValueError` for an invalid value. Source: Edifice.build.

    >>> model = build("test_time_compute", embed_dim=16, hidden_size=32, num_layers=1, seed=0)
    >>> model.config.num_kv_heads
    2
    """
    model: Model = registry.build(name, **options)
    return model
