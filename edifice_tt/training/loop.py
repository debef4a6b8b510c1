"""The training loop with early stopping. Knows examples and a loss; no pool.

One loop serves several trainings of a head from the same initial weights; its steps are captured
once.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tinygrad import Context, Tensor, TinyJit
from tinygrad.nn.optim import AdamW
from tinygrad.nn.state import get_parameters, get_state_dict

from edifice_tt.contract.errors import EdificeError
from edifice_tt.machine.exclusive import exclusive
from edifice_tt.nn.buffers import in_memory, view, wrap
from edifice_tt.scoring.heads import SURE
from edifice_tt.study.quality import auroc
from edifice_tt.training.examples import Example, Floats, batches
from edifice_tt.training.losses import Loss
from edifice_tt.training.progress import Arrays, Epoch, Progress, random_counter


@dataclass(frozen=True)
class Schedule:
    """The number of epochs, learning rate and such; as in `FitOptions`."""

    lr: float
    weight_decay: float
    batch_problems: int
    epochs: int
    patience: int
    seed: int


class Loop:
    """A head in training, with its optimiser and captured steps.

    `shape` is that of the largest problem (see `shape_of`). `inputs` are a mean and a scale: the
    head reads (states - mean) * scale.
    """

    @exclusive
    def __init__(
        self,
        head: Any,
        loss: Loss,
        shape: tuple[int, int],
        schedule: Schedule,
        inputs: tuple[Floats, Floats] | None = None,
        is_probability: bool = False,
    ) -> None:
        self.head, self.loss, self.shape, self.schedule = head, loss, shape, schedule
        self.inputs, self.is_probability = inputs, is_probability
        weights = get_parameters(head)
        self.device = str(weights[0].device)
        self.optimizer = AdamW(weights, lr=schedule.lr, weight_decay=schedule.weight_decay)
        self.counter = random_counter(self.device)
        Tensor.realize(*self._tensors().values())
        self._begin = _copied(self._tensors())
        self._batch: list[Tensor] = []
        self._train: Any = TinyJit(self._train_step)
        self._evaluate: Any = TinyJit(self._evaluate_step)

    def fits(self, progress: Progress) -> bool:
        """Whether it can go on from there: names, shapes and dtypes are its own."""
        ours = _kinds(self._begin), _kinds(_copied(get_state_dict(self.head)))
        return not progress.history or (_kinds(progress.state), _kinds(progress.best)) == ours

    def run(
        self,
        progress: Progress,
        examples: Sequence[Example],
        held_out: Sequence[Example] = (),
        *,
        fold: int = 0,
        epochs: int | None = None,
        keep: Callable[[Progress], None] = lambda progress: None,
        on_epoch: Callable[[Epoch], None] = lambda epoch: None,
    ) -> tuple[Progress, str]:
        """Train until it stops and load the best weights; returns the progress and the reason.

        Without held-out problems it runs for `epochs`, and the last weights are the best. `keep` is
        called after each epoch. Raises `EdificeError` for a loss that is not finite in the first
        epoch.
        """
        self._put(self._tensors(), progress.state or self._begin)
        last, reason = epochs or self.schedule.epochs, "epochs"
        while (number := len(progress.history) + 1) <= last:
            if held_out and number - 1 - progress.best_epoch >= self.schedule.patience:
                reason = "patience"
                break
            try:
                epoch = self._epoch(examples, held_out, fold, number)
            except FloatingPointError as error:
                if not progress.best:
                    raise EdificeError(
                        f"{error}; try a smaller lr than {self.schedule.lr}"
                    ) from None
                reason = str(error)
                break
            best, best_epoch = progress.best, progress.best_epoch
            losses = [
                one.held_out_loss for one in progress.history if one.held_out_loss is not None
            ]
            loss = epoch.held_out_loss
            if not best or loss is None or loss < min(losses, default=math.inf):
                best, best_epoch = _copied(get_state_dict(self.head)), number
            history, state = (*progress.history, epoch), _copied(self._tensors())
            progress = Progress(history, best_epoch, state, best)
            keep(progress)
            on_epoch(epoch)
        self._put(get_state_dict(self.head), progress.best)
        return progress, reason

    def _epoch(
        self, examples: Sequence[Example], held_out: Sequence[Example], fold: int, number: int
    ) -> Epoch:
        """One epoch; raises `FloatingPointError` for a loss that is not finite."""
        order = np.random.default_rng([self.schedule.seed, 3, number]).permutation(len(examples))
        where = f"epoch {number}" + (f" of fold {fold}" if fold else "")
        losses = []
        for place, batch in enumerate(self._batches(examples, order.tolist())):
            with exclusive, Context(TRAINING=1):
                losses.append(float(self._train(*batch).item()))
            if not np.isfinite(losses[-1]):
                raise FloatingPointError(f"the loss of batch {place} of {where} is {losses[-1]}")
        loss = float(np.mean(losses))
        if not held_out:
            weights = _copied(get_state_dict(self.head)).values()
            if not all(np.isfinite(weight).all() for weight in weights):
                raise FloatingPointError(f"the weights after {where} are not finite")
            return Epoch(fold, number, loss)
        held_loss, pairs = self._measure(held_out)
        if not np.isfinite(held_loss):
            raise FloatingPointError(f"the loss held out after {where} is {held_loss}")
        return Epoch(fold, number, loss, held_loss, pairs)

    @exclusive
    def _measure(self, held_out: Sequence[Example]) -> tuple[float, float]:
        """Loss and mean within-problem AUROC on the held-out problems."""
        total, pairs, size = 0.0, [], self.schedule.batch_problems
        order = list(range(len(held_out)))
        for start, batch in zip(
            range(0, len(order), size), self._batches(held_out, order), strict=True
        ):
            loss, logits = (t.numpy() for t in self._evaluate(*batch))
            some = held_out[start : start + size]
            total += float(loss) * len(some)
            for place, example in enumerate(some):
                last = [logits[place, row, len(s) - 1] for row, s in enumerate(example.states)]
                if 0 < example.right.mean() < 1 and np.isfinite(last).all():
                    pairs.append(float(auroc([last], [example.right])[0]))
        return total / len(order), float(np.mean(pairs)) if pairs else 0.5

    def _batches(self, examples: Sequence[Example], order: Sequence[int]) -> Iterator[list[Tensor]]:
        """Yield batches on the device; each is valid until the next."""
        for states, *others in batches(examples, self.schedule.batch_problems, order, self.shape):
            if self.inputs is not None:
                mean, scale = self.inputs
                states = (states - mean) * scale
            arrays = [states, *others]
            if not in_memory(self.device):
                with exclusive:
                    batch = [Tensor(array, device=self.device).realize() for array in arrays]
                yield batch
                continue
            if not self._batch:  # the same Tensors each time
                with exclusive:
                    self._batch = [wrap(np.empty_like(array), self.device) for array in arrays]
            for tensor, array in zip(self._batch, arrays, strict=True):
                np.copyto(view(tensor), array)
            yield self._batch

    def _logits(self, states: Tensor) -> Tensor:
        P, N, T, D = states.shape
        logits = self.head(states.reshape(P * N, T, D)).float().reshape(P, N, T)
        if self.is_probability:
            logits = logits.clip(SURE, 1 - SURE)
            logits = (logits / (1 - logits)).log()
        return logits

    def _train_step(self, states: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
        loss = self.loss(self._logits(states), targets, weights)
        # Not `backward`, which searches the Tensors of all threads.
        weights_of = self.optimizer.params
        for weight, gradient in zip(weights_of, loss.gradient(*weights_of), strict=True):
            weight.grad = gradient
        return loss.realize(*self.optimizer.schedule_step())

    def _evaluate_step(
        self, states: Tensor, targets: Tensor, weights: Tensor
    ) -> tuple[Tensor, Tensor]:
        logits = self._logits(states).contiguous()
        return self.loss(logits, targets, weights).realize(), logits.realize()

    def _tensors(self) -> dict[str, Tensor]:
        """All Tensors that a step reads and writes."""
        tensors = {f"head.{name}": weight for name, weight in get_state_dict(self.head).items()}
        state = get_state_dict(self.optimizer).items()
        tensors |= {f"optimizer.{k}": t for k, t in state if not k.startswith("params.")}
        return {**tensors, "random": self.counter}

    @exclusive
    def _put(self, tensors: dict[str, Tensor], values: Arrays) -> None:
        for name, tensor in tensors.items():
            tensor.assign(Tensor(values[name], device=self.device)).realize()


def _kinds(arrays: Arrays) -> dict[str, tuple[Any, ...]]:
    return {name: (array.shape, array.dtype) for name, array in arrays.items()}


@exclusive
def _copied(tensors: Mapping[str, Tensor]) -> dict[str, NDArray[Any]]:
    return {name: tensor.numpy().copy() for name, tensor in tensors.items()}
