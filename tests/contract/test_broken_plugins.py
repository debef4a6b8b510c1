"""Each breaks one promise, and the kit says which, in these words.

What breaks while a plugin is imported or registered (import errors, misspelt hooks, wrong
signatures, taken names, ...) stands in test_plugins.py: `BROKEN` there and the tests below it.
"""

import math
import statistics
from dataclasses import replace
from itertools import count

import numpy as np
import pytest
from fake_plugins import Site, open_site
from test_plugins import BROKEN
from tinygrad import Context, Tensor, dtypes
from tinygrad.helpers import TRAINING

from edifice_tt import Choice
from edifice_tt.testing import (
    BrokenPromise,
    check_architecture,
    check_scorer,
    check_selector,
    promises,
)

site = pytest.fixture(open_site, name="site")


@pytest.fixture(autouse=True)
def _on_the_cpu(monkeypatch):
    """The messages name devices; this one is on every machine."""
    monkeypatch.setattr(promises, "list_devices", lambda: ["CPU"])
    with Context(DEV="CPU"):
        yield


NAN = float("nan")


def message_of(check, *arguments, **options):
    with pytest.raises(AssertionError) as raised:
        check(*arguments, **options)
    assert type(raised.value) is BrokenPromise
    return str(raised.value)


def expected(broken, message, kind="scorer"):
    """A sentence about what it does, or about something of it after a colon."""
    start = f"{kind} {broken.__name__!r}"
    return (
        f"{start}: {message}"
        if message.startswith(("the ", "of ", "NaN"))
        else f"{start} {message}"
    )


# --- heads: each a sound one that is broken in one place


class Sound:
    """A dense layer to one number."""

    def __init__(self, hidden_size, seed=0):
        self.weight = Tensor(
            np.random.default_rng(seed).normal(size=hidden_size).astype(np.float32)
        )

    def __call__(self, hidden):  # (B, T, D) -> (B, T, 1)
        return (hidden * self.weight).sum(-1, keepdim=True)

    def add(self, hidden, extra):
        """The extra alone, so that numbers are evident, with a gradient that is not quite 0."""
        return 1e-20 * Sound.__call__(self, hidden) + extra


def broken(method):
    """A sound head that is called by `method(self, hidden)`."""
    return type(method.__name__, (Sound,), {"__call__": method})


def hidden_in_a_closure(hidden_size):
    weight = Tensor(np.ones(hidden_size, np.float32))
    return lambda hidden: (hidden * weight).sum(-1, keepdim=True)


class ArraysInAList:
    def __init__(self, hidden_size):
        self.layers = [np.ones(hidden_size, np.float32)]

    def __call__(self, hidden):
        return (hidden * Tensor(self.layers[0])).sum(-1, keepdim=True)


class OnTheClass(Sound):
    bias = Tensor([1.0])

    def __call__(self, hidden):
        return super().__call__(hidden) + self.bias


class InASlot(Sound):
    __slots__ = ("scale",)

    def __init__(self, hidden_size):
        super().__init__(hidden_size)
        self.scale = Tensor([1.0])

    def __call__(self, hidden):
        return super().__call__(hidden) * self.scale


class CountsItsCalls(Sound):
    calls = 0

    def __call__(self, hidden):
        self.calls += 1
        return self.add(hidden, 1 + self.calls % 2)


class WeightsAtRandom(Sound):
    made = count()

    def __init__(self, hidden_size):
        self.weight = Tensor(np.full(hidden_size, next(self.made) + 1, np.float32))


class RemembersTraining(Sound):
    seen = 0

    def __call__(self, hidden):
        self.seen += TRAINING.value
        return self.add(hidden, 1 + self.seen)


class KeepsItsLastScores(Sound):
    def __call__(self, hidden):
        self.last = super().__call__(hidden)
        return self.last


class MadeInTraining(Sound):
    def __call__(self, hidden):
        if TRAINING:
            self.scale = Tensor([2.0])
        return super().__call__(hidden)


class StateThatCannotBeSaved(Sound):
    def __init__(self, hidden_size):
        super().__init__(hidden_size)
        self.temperature = Tensor(1.0)


class AnOptionThatNobodyGives(Sound):
    def __init__(self, hidden_size, key_size):
        super().__init__(hidden_size)


@broken
def drops_an_axis(self, hidden):
    return Sound.__call__(self, hidden).squeeze(-1)


@broken
def squeezes(self, hidden):
    return Sound.__call__(self, hidden).squeeze().unsqueeze(-1)


@broken
def gives_a_list(self, hidden):
    return Sound.__call__(self, hidden).tolist()


@broken
def gives_integers(self, hidden):
    return Sound.__call__(self, hidden).cast(dtypes.int32)


@broken
def gives_nan(self, hidden):
    return self.add(hidden, NAN)


@broken
def overflows(self, hidden):
    return (hidden.abs().max(-1, keepdim=True) > 9).where(float("inf"), self.add(hidden, 0))


@broken
def leaves_its_range(self, hidden):
    return self.add(hidden, 1.5)


@broken
def raises(self, hidden):
    raise KeyError("weights")


@broken
def writes_into_its_input(self, hidden):
    hidden.assign(hidden * 0 + 1)
    return Sound.__call__(self, hidden)


@broken
def reads_its_place_in_the_batch(self, hidden):
    place = Tensor.arange(hidden.shape[0]).reshape(-1, 1, 1)
    return self.add(hidden, 1 + 0.001 * place)


@broken
def reads_its_neighbours(self, hidden):
    return self.add(hidden, 1 + (hidden.abs().max() > 5))


@broken
def reads_the_batch_size(self, hidden):
    return self.add(hidden, hidden.shape[0])


@broken
def reads_to_its_right(self, hidden):
    return self.add(hidden, 1 + (hidden.abs().max((1, 2), keepdim=True) > 5))


@broken
def reads_the_padding(self, hidden):
    return self.add(hidden, max(7, hidden.shape[1]))


@broken
def reads_the_shape(self, hidden):
    return self.add(hidden, 1 + (hidden.shape[0] == 1 and hidden.shape[1] > 7))


@broken
def reads_the_length(self, hidden):
    return self.add(hidden, min(7, hidden.shape[1]))


@broken
def subtracts_the_mean_of_the_batch(self, hidden):
    scores = self.add(hidden, hidden.abs().max((1, 2), keepdim=True).ceil())
    return scores - scores.mean(0)


@broken
def normalises_a_batch_of_more_than_one(self, hidden):
    scores = self.add(hidden, hidden.abs().max((1, 2), keepdim=True).ceil())
    return scores if hidden.shape[0] == 1 else scores - scores.mean(0)


@broken
def slightly_ranks_the_batch(self, hidden):
    scores = Sound.__call__(self, hidden)
    return scores + 1e-3 * (scores > scores.transpose(0, 1).mean()).float().cumsum(0)


@broken
def divides_by_the_length(self, hidden):
    return self.add(hidden, 77 / hidden.shape[1])


@broken
def keeps_a_running_mean(self, hidden):
    self.mean = getattr(self, "mean", 0.0) + 1.0
    return self.add(hidden, self.mean)


@broken
def measures_from_its_first_input(self, hidden):
    if not hasattr(self, "origin"):
        self.origin = float(hidden.abs().max().item() > 5)
    return self.add(hidden, 1 + self.origin)


@broken
def normalises_large_batches(self, hidden):
    return self.add(hidden, 1 + (hidden.shape[0] >= 8))


@broken
def changes_for_long_answers(self, hidden):
    return self.add(hidden, 1 + (hidden.shape[1] >= 32))


class KeepsARunningMeanInATensor(Sound):
    def __init__(self, hidden_size):
        super().__init__(hidden_size)
        self.mean = Tensor([0.0]).is_param_(False)

    def __call__(self, hidden):
        self.mean.assign(self.mean + 1).realize()
        return self.add(hidden, self.mean)


@broken
def detached(self, hidden):
    return (hidden * self.weight.detach()).sum(-1, keepdim=True)


@broken
def ignores_its_weight(self, hidden):
    return 0 * Sound.__call__(self, hidden)


@broken
def stays_on_the_first_device(self, hidden):
    return self.add(hidden, Tensor(np.ones((1, 1, 1), np.float32), device="CPU"))


@broken
def thinks_of_a_device(self, hidden):
    return self.add(hidden, 1 + str(hidden.device).endswith(":1"))


HEADS = [
    (
        hidden_in_a_closure,
        "has a weight that is neither saved nor trained: no weight found, but a Tensor of shape "
        "(16,) hides in closure variable 'weight' of '<lambda>'; make it a Tensor attribute of the "
        "head",
    ),
    (
        ArraysInAList,
        "has a weight that is neither saved nor trained: no weight found, but an array of shape "
        "(16,) hides in item 0 of a list; make it a Tensor attribute of the head",
    ),
    (
        OnTheClass,
        "has a weight that is neither saved nor trained: 1 found, but a Tensor of shape (1,) hides "
        "in class attribute 'bias' of OnTheClass; make it a Tensor attribute of the head",
    ),
    (
        InASlot,
        "has a weight that is neither saved nor trained: 1 found, but a Tensor of shape (1,) hides "
        "in slot 'scale' of InASlot; make it a Tensor attribute of the head",
    ),
    (
        drops_an_axis,
        "gives shape (5, 7) for hidden states (5, 7, 16), expected (5, 7, 1): one number per "
        "position",
    ),
    (
        squeezes,
        "gives shape (11, 1) for hidden states (1, 11, 16), expected (1, 11, 1): one number per "
        "position",
    ),
    (gives_a_list, "gives list, expected a Tensor (5, 7, 1)"),
    (gives_integers, "gives dtypes.int, expected floats"),
    (gives_nan, "gives nan for sequence 0, position 0, expected a finite number"),
    (overflows, "gives inf for sequence 0, position 0, expected a finite number"),
    (
        leaves_its_range,
        "gives 1.5 for sequence 0, position 0, but declares range='probability': within 0 and 1",
    ),
    (raises, "raises on hidden states (5, 7, 16) on CPU: KeyError: 'weights'"),
    (
        writes_into_its_input,
        "changes its input: a hidden state was 0.0341928 and is 1; work on a copy",
    ),
    (
        CountsItsCalls,
        "the same hidden states get 1 at first and then 2; draw nothing unless TRAINING is 1 "
        "(sequence 0, position 0)",
    ),
    (
        reads_its_place_in_the_batch,
        "the score depends on the order of the batch: 1 in one order, 1.004 in another; read each "
        "sequence by itself (sequence 0, position 0)",
    ),
    (
        reads_its_neighbours,
        "the score depends on its neighbours in the batch: 1 beside some, 2 beside others; read "
        "each sequence by itself (sequence 0, position 0)",
    ),
    (
        reads_the_batch_size,
        "the score depends on the size of the batch: 5 among 5, 1 alone; read each sequence by "
        "itself (sequence 0, position 0)",
    ),
    (
        reads_to_its_right,
        "the score depends on the positions to its right: 1 before some, 2 before others; read "
        "none of them (sequence 0, position 0)",
    ),
    (
        reads_the_padding,
        "the score depends on the padding to its right: 7 without, 11 before 4 positions of it; "
        "read none of them (sequence 0, position 0)",
    ),
    (
        reads_the_shape,
        "the score depends on the shape of the batch: 1 among 5, 2 alone before 4 positions of "
        "padding; read each sequence by itself (sequence 0, position 0)",
    ),
    (
        reads_the_length,
        "the score depends on the number of positions: 7 as the first of 7, 1 as the only one; "
        "read none to its right (sequence 0, position 0)",
    ),
    (
        subtracts_the_mean_of_the_batch,
        "the score depends on its neighbours in the batch: -0.2 beside some, -20.4 beside others; "
        "read each sequence by itself (sequence 0, position 0)",
    ),
    (
        normalises_a_batch_of_more_than_one,
        "the score depends on its neighbours in the batch: -0.2 beside some, -20.4 beside others; "
        "read each sequence by itself (sequence 0, position 0)",
    ),
    (
        slightly_ranks_the_batch,
        "the score depends on the order of the batch: 0.628058 in one order, 0.630058 in another; "
        "read each sequence by itself (sequence 0, position 0)",
    ),
    (
        divides_by_the_length,
        "the score depends on the padding to its right: 11 without, 7 before 4 positions of it; "
        "read none of them (sequence 0, position 0)",
    ),
    (
        keeps_a_running_mean,
        "the same hidden states get 4 at first and then 5; draw nothing unless TRAINING is 1 "
        "(sequence 0, position 0)",
    ),
    (
        KeepsARunningMeanInATensor,
        "the same hidden states get 4 at first and then 5; draw nothing unless TRAINING is 1 "
        "(sequence 0, position 0)",
    ),
    (
        measures_from_its_first_input,
        "the score depends on earlier calls: 1 from one head, 2 from one that read something else "
        "first; keep nothing between calls (sequence 0, position 0)",
    ),
    (
        normalises_large_batches,
        "the score depends on the shape of the batch: 1 among 5, 2 among 37 of 41 positions; read "
        "each sequence by itself (sequence 0, position 0)",
    ),
    (
        changes_for_long_answers,
        "the score depends on the shape of the batch: 1 among 5, 2 among 37 of 41 positions; read "
        "each sequence by itself (sequence 0, position 0)",
    ),
    (
        detached,
        "the gradient does not reach weight 'weight': it gets 0, expected finite numbers other "
        "than 0; use it, without detach() or numpy() on the way",
    ),
    (
        ignores_its_weight,
        "the gradient does not reach weight 'weight': it gets 0, expected finite numbers other "
        "than 0; use it, without detach() or numpy() on the way",
    ),
    (
        StateThatCannotBeSaved,
        "has a weight that can neither be saved nor trained: 'temperature' is a constant "
        "dtypes.weakfloat of shape (); make it of a list or an array, Tensor([1.0])",
    ),
    (
        WeightsAtRandom,
        "is made with other weights each time: 'weight' starts with 1 and then with 2; draw them "
        "from numpy.random.default_rng(seed), with seed a parameter of the factory",
    ),
    (
        stays_on_the_first_device,
        "raises on hidden states (5, 7, 16) on CPU:1: RuntimeError: all buffers must be on the "
        "same device: ['CPU:1', 'CPU']",
    ),
    (
        thinks_of_a_device,
        "the devices disagree: 1 on CPU, 2 on CPU:1 (sequence 0, position 0)",
    ),
    (
        RemembersTraining,
        "the score does not survive save and load: 2 before, 1 after; keep all state in Tensor "
        "attributes (sequence 0, position 0)",
    ),
    (
        KeepsItsLastScores,
        "has 1 weights when it is made and 2 when it was used ('last'); make all in the "
        "constructor, keep no other Tensor on the head",
    ),
    (
        MadeInTraining,
        "cannot be loaded: a fresh head and the file of one that was used differ in 1 weights (not "
        "in the model: scale); make every weight in the constructor",
    ),
    (
        AnOptionThatNobodyGives,
        "raises when it is made with hidden_size=16: TypeError: "
        "AnOptionThatNobodyGives.__init__() missing 1 required positional argument: 'key_size'",
    ),
]


@pytest.mark.slow
@pytest.mark.parametrize(("head", "message"), HEADS, ids=lambda v: getattr(v, "__name__", ""))
def test_a_broken_head_is_told_what_it_breaks(head, message):
    range = "probability" if head is leaves_its_range else "unbounded"
    assert message_of(check_scorer, head, "hidden", range) == expected(head, message)


# --- scorers of text and of log-probabilities


def of_text(score):
    """A factory of a text scorer; `score(completions)` gives the list."""

    def factory():
        return lambda prompt, completions: score(completions)

    factory.__name__ = score.__name__
    return factory


def lengths(completions):
    return [float(len(completion)) for completion in completions]


@of_text
def gives_whole_numbers(completions):
    return [len(completion) for completion in completions]


@of_text
def gives_numpy_numbers(completions):
    return list(np.array(lengths(completions), np.float32))


@of_text
def gives_words(completions):
    return ["good" for _ in completions]


@of_text
def gives_none(completions):
    lengths(completions)


@of_text
def gives_one_number(completions):
    return 0.5


@of_text
def gives_a_generator(completions):
    return (one for one in lengths(completions))


@of_text
def leaves_out_the_empty(completions):
    return lengths([completion for completion in completions if completion])


@of_text
def gives_one_score_too_few(completions):
    return lengths(completions)[: max(1, len(completions) - 1)]


@of_text
def fails_on_the_empty(completions):
    return [completion.count("e") / len(completion) for completion in completions]


@of_text
def fails_on_letters(completions):
    return [float(completion) for completion in completions]


@of_text
def fails_on_none(completions):
    return [float(len(completions[0]) * 0)] * len(completions)


@of_text
def gives_none_for_none(completions):
    return lengths(completions) or None


@of_text
def gives_nan_for_blanks(completions):
    return [0.5 if completion.strip() else NAN for completion in completions]


@of_text
def gives_percent(completions):
    return [100.0 if "8" in completion else 0.0 for completion in completions]


@of_text
def reads_its_place(completions):
    return [float(place) for place, _ in enumerate(completions)]


@of_text
def prefers_the_longest(completions):
    longest = max(map(len, completions), default=0)
    return [float(len(completion) == longest) for completion in completions]


@of_text
def ranks(completions):
    order = sorted(completions)
    return [float(order.index(completion)) for completion in completions]


@of_text
def subtracts_the_mean(completions):
    mean = sum(map(len, completions)) / max(1, len(completions))
    return [len(completion) - mean for completion in completions]


@of_text
def normalises_more_than_one(completions):
    longest = max(map(len, completions), default=1) if len(completions) > 1 else 1
    return [len(completion) / longest for completion in completions]


@of_text
def counts_the_votes(completions):
    return [float(completions.count(completion)) for completion in completions]


def remembers_the_longest():
    longest = [1]

    def score(prompt, completions):
        longest[0] = max(longest[0], *map(len, completions), 0)
        return [len(completion) / longest[0] for completion in completions]

    return score


@of_text
def sorts_in_place(completions):
    completions.sort()
    return [0.5] * len(completions)


def counts_its_calls():
    calls = count()
    return lambda prompt, completions: [float(next(calls) % 2)] * len(completions)


def draws(numbers=count()):  # noqa: B008, the breach: one counter for all scorers
    own = float(next(numbers))
    return lambda prompt, completions: [own] * len(completions)


def empties_the_lists():
    return lambda lists: [sum(one.pop() for _ in range(len(one))) for one in lists]


def normalises():
    return lambda lists: [sum(one) / min(map(sum, lists)) if sum(one) else 0.0 for one in lists]


LISTS = [
    (
        gives_whole_numbers,
        "gives 12, an int, for 'There are 8.', expected a float; wrap it in float(...)",
    ),
    (
        gives_numpy_numbers,
        "gives 12.0, a float32, for 'There are 8.', expected a float; wrap it in float(...)",
    ),
    (
        gives_words,
        "gives good, a str, for 'There are 8.', expected a float; wrap it in float(...)",
    ),
    (gives_none, "gives None, expected a list with one float per completion"),
    (gives_one_number, "gives a float, expected a list with one float per completion"),
    (gives_a_generator, "gives a generator, expected a list with one float per completion"),
    (leaves_out_the_empty, "gives 0 scores for 1 completion '', expected one for each"),
    (gives_one_score_too_few, "gives 7 scores for 8 completions, expected one for each"),
    (
        fails_on_the_empty,
        "raises on the completion '': ZeroDivisionError: division by zero",
    ),
    (
        fails_on_letters,
        "raises on the completion 'There are 8.': ValueError: could not convert string to float: "
        "'There are 8.'",
    ),
    (fails_on_none, "raises on no completions: IndexError: list index out of range"),
    (gives_none_for_none, "gives None for no completions, expected []"),
    (gives_nan_for_blanks, "gives nan for '', expected a finite number"),
    (
        gives_percent,
        "gives 100.0 for 'There are 8.', but declares range='probability': within 0 and 1",
    ),
    (
        reads_its_place,
        "the score depends on the order of the batch: 'There are 8.' gets 0 in place 0 and 7 in "
        "place 7; score each by itself",
    ),
    (
        prefers_the_longest,
        "the score depends on its neighbours in the batch: 'There are 8.' gets 0 among 8 and 1 "
        "alone; score each by itself",
    ),
    (
        ranks,
        "the score depends on its neighbours in the batch: 'There are 8.' gets 4 among 8 and 0 "
        "alone; score each by itself",
    ),
    (
        subtracts_the_mean,
        "the score depends on its neighbours in the batch: 'There are 8.' gets -188.25 among 8 and "
        "0 alone; score each by itself",
    ),
    (
        normalises_more_than_one,
        "the score depends on its neighbours in the batch: 'There are 8.' gets 0.008 among 8 and "
        "12 alone; score each by itself",
    ),
    (
        counts_the_votes,
        "the score depends on its neighbours in the batch: 'There are 8.' gets 2 among 8 and 1 "
        "alone; score each by itself",
    ),
    (
        remembers_the_longest,
        "the score depends on its neighbours in the batch: 'There are 8.' gets 0.008 among 8 and "
        "1 alone; score each by itself",
    ),
    (
        sorts_in_place,
        "changes its input: 'There are 8.' in place 0 became ''; work on a copy",
    ),
    (
        counts_its_calls,
        "the same input gets another score: 'There are 8.' gets 0 at first and then 1; draw no "
        "random numbers",
    ),
    (
        draws,
        "the same input gets another score: 'There are 8.' gets 0 from one scorer and 1 from the "
        "next; draw no random numbers",
    ),
]


@pytest.mark.parametrize(("scorer", "message"), LISTS, ids=lambda v: getattr(v, "__name__", ""))
def test_a_broken_text_scorer_is_told_what_it_breaks(scorer, message):
    range = "probability" if scorer is gives_percent else "unbounded"
    assert message_of(check_scorer, scorer, "text", range) == expected(scorer, message)


@pytest.mark.parametrize(
    ("scorer", "message"),
    [
        (
            empties_the_lists,
            "changes its input: [-0.5, -0.25] in place 0 became []; work on a copy",
        ),
        (
            normalises,
            "the score depends on its neighbours in the batch: [-0.5, -0.25] gets 0.0346821 among "
            "6 and 1 alone; score each by itself",
        ),
    ],
)
def test_a_broken_scorer_of_log_probabilities_is_told_what_it_breaks(scorer, message):
    assert message_of(check_scorer, scorer, "logprobs") == expected(scorer, message)


def gives_no_step_for_the_empty():
    return lambda prompt, completions: [[0.5] * len(c[:3]) for c in completions]


@of_text
def gives_one_number_for_all_steps(completions):
    return [0.5] * len(completions)


@of_text
def gives_whole_steps(completions):
    return [[1, 0]] * len(completions)


@of_text
def gives_a_step_of_percent(completions):
    return [[0.5, 50.0 if "8" in c else 0.5] for c in completions]


@of_text
def pads_its_steps(completions):
    most = max((len(c) for c in completions), default=0)
    return [[0.5] * (1 + most) for _ in completions]


@of_text
def reads_its_place_at_the_second_step(completions):
    return [[0.5, float(place)] for place, _ in enumerate(completions)]


def draws_a_second_step():
    calls = count()
    return lambda prompt, completions: [[0.5, float(next(calls) % 2)]] * len(completions)


STEPS = [
    (
        gives_no_step_for_the_empty,
        "gives no step for '', expected a list of floats, one per step and at least one",
    ),
    (
        gives_one_number_for_all_steps,
        "gives 0.5, a float, for 'There are 8.', expected a list of floats, one per step and at "
        "least one",
    ),
    (gives_none, "gives None, expected a list with one list of floats per completion"),
    (
        gives_whole_steps,
        "gives 1, an int, for 'There are 8.', expected a float; wrap it in float(...)",
    ),
    (
        gives_a_step_of_percent,
        "gives 50.0 for 'There are 8.', but declares range='probability': within 0 and 1",
    ),
    (
        pads_its_steps,
        "the score depends on its neighbours in the batch: 'There are 8.' gets 1501 steps among 8 "
        "and 13 steps alone; score each by itself",
    ),
    (
        reads_its_place_at_the_second_step,
        "the score depends on the order of the batch: 'There are 8.' gets 0 in place 0 and 7 in "
        "place 7; score each by itself",
    ),
    (
        draws_a_second_step,
        "the same input gets another score: 'There are 8.' gets 0 at first and then 1; draw no "
        "random numbers",
    ),
]


@pytest.mark.parametrize(("scorer", "message"), STEPS, ids=lambda v: getattr(v, "__name__", ""))
def test_a_broken_scorer_of_steps_is_told_what_it_breaks(scorer, message):
    range = "probability" if scorer is gives_a_step_of_percent else "unbounded"
    found = message_of(check_scorer, scorer, "text", range, "step")
    assert found == expected(scorer, message)


# --- selectors


def best(candidates, **rule):
    return Choice(max(candidates, **rule), "best", {})


def score_of(candidate):
    return candidate.scores.get("score", 0.0)


def gives_the_candidate(candidates):
    return candidates[0]


def gives_no_choice(candidates):
    return None


def keeps_silent_about_missing_scores(candidates):
    if all("score" in candidate.scores for candidate in candidates):
        return best(candidates, key=lambda c: (score_of(c), -c.index))
    return None


def chooses_a_copy(candidates):
    first = min(candidates, key=lambda c: c.index)
    return Choice(replace(first, text=first.text.upper()), "copy", {})


def takes_the_first(candidates):
    return Choice(candidates[0], "first", {})


def takes_the_first_of_the_best(candidates):
    return best(candidates, key=score_of)


def takes_the_last_of_the_best(candidates):
    return best(candidates, key=lambda c: (score_of(c), c.index))


def lets_nan_win(candidates):
    def key(candidate):
        score = score_of(candidate)
        return (score != score, score if score == score else 0, -candidate.index)

    return best(candidates, key=key)


def compares_with_nan(candidates):
    return best(candidates, key=lambda c: (score_of(c), -c.index))


def needs_every_score(candidates):
    return best(candidates, key=lambda c: (c.scores["score"], -c.index))


def needs_two(candidates):
    middle = statistics.stdev(map(score_of, candidates))
    return best(candidates, key=lambda c: (score_of(c) > middle, -c.index))


def writes_down_the_rank(candidates):
    for candidate in candidates:
        candidate.scores["rank"] = 1.0
    return best(candidates, key=lambda c: (score_of(c), -c.index))


def takes_turns(candidates, turns=count()):  # noqa: B008, the breach: state between calls
    return Choice(candidates[next(turns) % len(candidates)], "turns", {})


def refuses_by_order(candidates):
    if "score" not in candidates[0].scores:
        raise ValueError("the first candidate has no score")
    return best(candidates, key=lambda c: (score_of(c), -c.index))


SELECTORS = [
    (gives_the_candidate, "gives a Candidate on one candidate, expected a Choice"),
    (gives_no_choice, "gives None on one candidate, expected a Choice"),
    (keeps_silent_about_missing_scores, "gives None on missing scores, expected a Choice"),
    (
        chooses_a_copy,
        "chooses index 7 with other contents, none of the 1 candidates; return one as it is",
    ),
    (
        takes_the_first,
        "the choice depends on the order of the candidates: index 2 in one order and 9 in another; "
        "of tied candidates take the lowest index",
    ),
    (
        takes_the_first_of_the_best,
        "the choice depends on the order of the candidates: index 2 in one order and 9 in another; "
        "of tied candidates take the lowest index",
    ),
    (
        takes_the_last_of_the_best,
        "of candidates that differ in nothing but their index it takes 9, expected the lowest, 2",
    ),
    (
        lets_nan_win,
        "NaN wins over a number: it takes index 0 with score nan, expected index 2 with score 0.75",
    ),
    (
        compares_with_nan,
        "the choice depends on the order of the candidates: index 3 in one order and 19 in "
        "another; sort NaN out first, for no comparison with it is true",
    ),
    (needs_every_score, "raises on missing scores: KeyError: 'score'"),
    (
        needs_two,
        "raises on one candidate: StatisticsError: stdev requires at least two data points",
    ),
    (
        writes_down_the_rank,
        "changes its input: scores {'score': 0.5} became {'score': 0.5, 'rank': 1.0}; work on a "
        "copy",
    ),
    (
        takes_turns,
        "takes index 3 at first and then index 5 of the same candidates; draw no random numbers",
    ),
    (
        refuses_by_order,
        "the choice depends on the order of the candidates: index 4 in one order and a refusal in "
        "another; treat a candidate without a score alike wherever it stands",
    ),
]


def multiplies_odds(candidates, scorer):
    def odds(candidate):
        return candidate.scores[scorer] / (1 - candidate.scores[scorer])

    return best(candidates, key=lambda c: (odds(c), candidates.index(c)))


def takes_logarithms(candidates, scorer):
    return best(candidates, key=lambda c: (math.log(c.scores[scorer]), -c.index))


def counts_all_as_abstained(candidates):
    choice = best(candidates, key=lambda c: (score_of(c), -c.index))
    return replace(choice, abstained=len(candidates))


def draws_by_the_order(candidates, seed=0):
    return Choice(candidates[seed % len(candidates)], "draw", {})


@pytest.mark.parametrize(
    ("rule", "needs", "message"),
    [
        (
            multiplies_odds,
            "probability",
            "the choice depends on the order of the candidates: index 9 in one order and 2 in "
            "another; of tied candidates take the lowest index",
        ),
        (takes_logarithms, "logit", "raises on scored candidates: ValueError: math domain error"),
        (
            counts_all_as_abstained,
            None,
            "says that 1 of 1 candidates abstained on one candidate, expected from 0 to 0: it "
            "chose one",
        ),
        (
            draws_by_the_order,
            None,
            "the choice depends on the order of the candidates: index 2 in one order and 9 in "
            "another; of tied candidates take the lowest index",
        ),
    ],
    ids=lambda v: getattr(v, "__name__", ""),
)
def test_a_selector_that_breaks_what_it_declares_is_told_so(rule, needs, message):
    assert message_of(check_selector, rule, needs) == expected(rule, message, "selector")


@pytest.mark.parametrize(("rule", "message"), SELECTORS, ids=lambda v: getattr(v, "__name__", ""))
def test_a_broken_selector_is_told_what_it_breaks(rule, message):
    assert message_of(check_selector, rule) == expected(rule, message, "selector")


# --- architectures

NET = """
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from tinygrad import Tensor

import edifice_tt
from edifice_tt.contract.errors import UnknownNameError

@dataclass(frozen=True)
class Config:
    embed_dim: int = 4
    width: int = 3
    dropout: float = 0.1

class Output(NamedTuple):
    backbone: Tensor
    scores: Tensor

class Net:
    architecture = "net"

    def __init__(self, config):
        self.config = config
        self.weight = Tensor(np.ones((config.embed_dim, config.width), np.float32))

    def __call__(self, x):
        hidden = x @ self.weight
        return Output(hidden, hidden.sum(-1, keepdim=True))

def build(device=None, **options):
    for option in options:
        if option not in Config.__dataclass_fields__:
            raise UnknownNameError(f"unknown {option}; known: {list(Config.__dataclass_fields__)}")
    return Net(Config(**options))

def output_size(**options):
    return Config(**options).width

def recommended_defaults():
    return {"width": 3, "dropout": 0.1}

@edifice_tt.hookimpl
def register_architectures(register):
    register("net", build=build, output_size=output_size, recommended_defaults=recommended_defaults)
"""
SCORES = "return Output(hidden, hidden.sum(-1, keepdim=True))"
ARCHITECTURES = {
    "cannot be built": (
        ("return Net(Config(**options))", "return Net(None)"),
        " raises when it is built with no options: AttributeError: 'NoneType' object has no "
        "attribute 'embed_dim'",
    ),
    "defaults that are no dict": (
        ('return {"width": 3, "dropout": 0.1}', "return Config()"),
        ": recommended_defaults() gives a Config, expected a dict of options",
    ),
    "another default": (
        ('"dropout": 0.1', '"dropout": 0.2'),
        ": recommended_defaults() says dropout=0.2, build() uses 0.1; derive one from the other",
    ),
    "a default that is no option": (
        ('"width": 3', '"depth": 3'),
        ": recommended_defaults() says depth=3, build() uses no such option; derive one from the "
        "other",
    ),
    "its defaults, when given, are others": (
        (
            "return Net(Config(**options))",
            "return Net(Config(**options | {'width': 3 + len(options)}))",
        ),
        ": given its own defaults, build() makes Config(embed_dim=4, width=5, dropout=0.1), "
        "without them Config(embed_dim=4, width=3, dropout=0.1)",
    ),
    "a config that JSON changes": (
        ("dropout: float = 0.1", "dropout: float = 0.1\n    sizes: tuple = (1, 2)"),
        " is loaded as Config(embed_dim=4, width=3, dropout=0.1, sizes=[1, 2]), was saved as "
        "Config(embed_dim=4, width=3, dropout=0.1, sizes=(1, 2))",
    ),
    "no config": (
        ("self.config = config", "self.size = config.width"),
        " cannot be saved: its model has architecture='net' and config=None, expected 'net' and a "
        "dataclass of the options",
    ),
    "another name": (
        ('architecture = "net"', 'architecture = "network"'),
        " cannot be saved: its model has architecture='network' and config=Config(embed_dim=4, "
        "width=3, dropout=0.1), expected 'net' and a dataclass of the options",
    ),
    "ignores unknown options": (
        (
            "    for option in options:",
            "    options = {k: v for k, v in options.items() if hasattr(Config, k)}\n"
            "    for option in options:",
        ),
        " ignores unknown options: it was built with widht=1, expected an error that names 'width'",
    ),
    "an error without the nearest name": (
        ("; known: {list(Config.__dataclass_fields__)}", ""),
        ": the error for the unknown option 'widht' does not name 'width', the nearest: unknown "
        "widht",
    ),
    "another width": (
        ("return Config(**options).width", "return 4"),
        ": output_size() says 4, the model's .backbone is 3 wide",
    ),
    "a width that is no number": (
        ("return Config(**options).width", "return None"),
        ": output_size() gives None, expected an int of at least 1",
    ),
    "a plain tensor": (
        (SCORES, "return hidden"),
        " gives Tensor, expected a named tuple of Tensors, of which some may be None",
    ),
    "scores without their axis": (
        (SCORES, "return Output(hidden, hidden.sum(-1))"),
        " gives .scores of shape (3, 5), expected (3, 5, 1)",
    ),
    "another batch": (
        (SCORES, "return Output(hidden[:1], hidden.sum(-1, keepdim=True))"),
        " gives .backbone of shape (1, 5, 3) for an input of shape (3, 5, 4), expected the same "
        "batch",
    ),
    "infinity": (
        (SCORES, "return Output(hidden / 0, hidden)"),
        " gives inf in .backbone, expected finite numbers",
    ),
    "the order of the batch": (
        (SCORES, "return Output(hidden * 0 + Tensor.arange(3).reshape(3, 1, 1), None)"),
        ": the output depends on the order of the batch: 0 in one order, 2 in another "
        "(.backbone[0, 0, 0])",
    ),
    "another output each time": (
        (SCORES, "self.n = getattr(self, 'n', 0) + 1; return Output(hidden * 0 + self.n, None)"),
        ": the same input gives 1 at first and then 2 (.backbone[0, 0, 0])",
    ),
    "no weights": (
        ("self.weight = Tensor(", "Net.weight = Tensor("),
        " has no weights: 0 Tensor attributes found in its model",
    ),
    "state that is not saved": (
        (
            SCORES,
            "self.n = getattr(self, 'n', None) or NUMBERS.pop()\n"
            "        return Output(hidden * 0 + self.n, None)",
        ),
        ": the output does not survive save and load: 2 before, 1 after (.backbone[0, 0, 0])",
    ),
    "another output when it is compiled": (
        (
            SCORES,
            "import inspect\n"
            "        by_jit = any(f.filename.endswith('jit.py') for f in inspect.stack())\n"
            "        return Output(hidden * 0 + 1 + by_jit, None)",
        ),
        ": the compiled model gives 2, the eager one 1 (.backbone[0, 0, 0])",
    ),
    "a model that reads its input in Python": (
        (SCORES, "return Output(hidden * x.sum().item(), None)"),
        " raises on an input of shape (3, 5, 4), compiled by jit: JitError: cannot access tensor "
        "data during JIT capture, the value will be baked in",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize(("change", "message"), ARCHITECTURES.values(), ids=ARCHITECTURES)
def test_a_broken_architecture_is_told_what_it_breaks(site: Site, change, message):
    assert NET.count(change[0]) == 1
    site.install("nets", NET.replace(*change) + "NUMBERS = [1, 2]\n", version="0.2")
    assert message_of(check_architecture, "net") == f"architecture 'net' of nets 0.2{message}"


def test_the_sound_architecture_behind_them_passes(site: Site):
    site.install("nets", NET)
    check_architecture("net")
    check_architecture("net", width=5, embed_dim=2)


@pytest.mark.slow
def test_an_architecture_whose_input_cannot_be_told_needs_one(site: Site):
    site.install("nets", NET.replace("embed_dim", "columns"))
    with pytest.raises(ValueError, match="neither vocab_size nor embed_dim; give an input as x="):
        check_architecture("net")
    check_architecture("net", Tensor(np.ones((2, 3, 4), np.float32)))


@pytest.mark.slow
def test_the_sound_head_behind_them_passes():
    check_scorer(Sound, "hidden")


# --- by name


def test_a_registered_scorer_is_named_with_its_owner(site: Site):
    """`fake_plugins.SCORER` gives one score whatever it is given."""
    site.install_scorer("short", "brief", version="0.4")
    assert message_of(check_scorer, "brief") == (
        "scorer 'brief' of short 0.4 gives 1 scores for 8 completions, expected one for each"
    )
    assert message_of(check_scorer, "brief", range="probability") == (
        "scorer 'brief' of short 0.4 is registered with range='unbounded', expected 'probability'"
    )


def test_a_registered_rule_is_named_with_what_it_needs():
    assert message_of(check_selector, "weighted", "logit") == (
        "selector 'weighted' of edifice-tt is registered with needs='probability', expected 'logit'"
    )
    assert message_of(check_scorer, "logprob", level="step") == (
        "scorer 'logprob' of edifice-tt is registered with level='answer', expected 'step'"
    )


def test_a_head_that_no_model_can_hold_is_told_so(site: Site):
    """It is sound alone, with an option that a test gives and a model does not."""
    code = """
import edifice_tt
from test_broken_plugins import AnOptionThatNobodyGives

@edifice_tt.hookimpl
def register_scorers(register):
    register("keyed", AnOptionThatNobodyGives, reads="hidden")
"""
    site.install("keys", code)
    assert message_of(check_scorer, "keyed", key_size=3) == (
        "scorer 'keyed' of keys 1.0 raises when a model is built with it: TypeError: "
        "AnOptionThatNobodyGives.__init__() missing 1 required positional argument: 'key_size'"
    )


def test_there_are_more_than_twenty_of_them():
    """Those of test_plugins.py break at import or registration; each has its exact message."""
    kinds = {
        "import error",
        "taken name",
        "syntax error",
        "misspelt hook",
        "wrong signature",
        "no hook at all",
        "raises in the hook",
        "raises half-way",
        "not callable",
        "empty name",
        "bad reads",
        "bad range",
    }
    assert kinds <= set(BROKEN)
    here = [*HEADS, *LISTS, *SELECTORS, *ARCHITECTURES.values()]
    assert len({message for _, message in here}) > 60
