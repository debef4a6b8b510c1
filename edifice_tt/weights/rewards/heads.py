"""The head of a judge as a record: its layers, and what becomes of their numbers.

Applied on the host, one state at a time, so that a number depends on its own state alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating[Any]]


class Layer(NamedTuple):
    """A dense layer: weight (out, in), and bias (out) if there is one."""

    weight: NDArray[np.float32]
    bias: NDArray[np.float32] | None = None


def range_of(score: str) -> str:
    """What scores of a kind are: a logit of a reward model has no fixed zero."""
    return "unbounded" if score == "logit" else "probability"


@dataclass(frozen=True, eq=False)
class Head:
    """Dense layers with an activation between them, and how a score is made of their numbers.

    `label` is the number that counts, of several. `softcap` is that of a language model whose rows
    the head is.
    """

    layers: tuple[Layer, ...]
    score: str  # logit, sigmoid or softmax
    label: int = 0
    activation: str = "relu"
    softcap: float = 0.0

    @property
    def sizes(self) -> tuple[int, ...]:
        """The size of a hidden state, and of what comes out of each layer."""
        return (self.layers[0].weight.shape[1], *(len(layer.weight) for layer in self.layers))

    @property
    def range(self) -> str:
        return range_of(self.score)

    def numbers(self, state: Array) -> Array:
        """A hidden state (D,) -> the numbers of all labels, in float64."""
        x = state.astype(np.float32)
        for i, layer in enumerate(self.layers):
            if i:
                x = np.maximum(x, 0) if self.activation == "relu" else np.tanh(x)
            x = layer.weight @ x
            if layer.bias is not None:
                x = x + layer.bias
        exact = x.astype(np.float64)
        return self.softcap * np.tanh(exact / self.softcap) if self.softcap else exact

    def scores(self, states: Sequence[Array]) -> list[float]:
        """The score of each hidden state (D,)."""
        with np.errstate(all="ignore"):  # whoever asks looks for what is not finite
            return [self._score(self.numbers(state)) for state in states]

    def _score(self, numbers: Array) -> float:
        chosen = numbers[self.label]
        if self.score == "logit":
            return float(chosen)
        if self.score == "sigmoid":
            return float(np.exp(-np.logaddexp(0.0, -chosen)))
        return float(np.exp(chosen - np.logaddexp.reduce(numbers)))
