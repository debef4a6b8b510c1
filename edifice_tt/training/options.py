"""How a head is fitted: the options of `fit_scorer`, checked."""

from dataclasses import dataclass
from typing import TypedDict

from edifice_tt.contract.errors import unknown_name
from edifice_tt.contract.options import check_count, check_dropout

LOSSES = ("outcome", "pairwise", "token", "step")


class AnyLayerOptions(TypedDict, total=False):
    """The fields of `FitOptions` but for `layer`, for type checkers."""

    loss: str
    scorer_hidden: int
    dropout: float
    lr: float
    weight_decay: float
    batch_problems: int
    epochs: int
    patience: int
    folds: int
    balance: bool
    margin: float
    centre: float
    calibration: str
    name: str


class LayerOptions(AnyLayerOptions, total=False):
    """The fields of `FitOptions`, for type checkers."""

    layer: int | None


@dataclass(frozen=True)
class FitOptions:
    """How a head is fitted; raises `ValueError` for invalid values.

    `loss` is `outcome` (correctness at the last token), `token` or `step` (correctness at every
    token or at each end of a step), or `pairwise`. Each of `folds` parts of the problems is held
    out once; training stops after `patience` epochs without a better held-out loss.
    """

    loss: str = "outcome"
    layer: int | None = None
    scorer_hidden: int = 128
    dropout: float = 0.1
    lr: float = 1e-3
    weight_decay: float = 0.01
    batch_problems: int = 8
    epochs: int = 60
    patience: int = 10
    folds: int = 4
    balance: bool = True
    margin: float = 0.0
    centre: float = 0.01
    calibration: str = "platt"
    name: str = "verifier"

    def __post_init__(self) -> None:
        if self.loss not in LOSSES:
            raise unknown_name("loss", self.loss, LOSSES)
        for option in ("scorer_hidden", "batch_problems", "epochs", "patience", "folds"):
            object.__setattr__(self, option, check_count(option, getattr(self, option)))
        check_dropout(self.dropout)
        if self.folds < 2:
            raise ValueError(f"folds={self.folds} must be at least 2, or nothing is held out")
        for option in ("lr", "weight_decay", "margin", "centre"):
            value = getattr(self, option)
            if not 0 <= value < float("inf") or (option == "lr" and value == 0):
                raise ValueError(f"{option}={value} must be a finite number, above 0 for lr")
        if self.calibration not in ("platt", "temperature"):
            raise ValueError(f"calibration={self.calibration!r} must be platt or temperature")
