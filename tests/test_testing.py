"""The kit passes what is sound, whatever it looks like, and its examples are what they say.

What it refuses, and in which words, stands in test_broken_plugins.py.
"""

import subprocess
import sys
import threading
from functools import partial
from importlib.metadata import entry_points

import numpy as np
import pytest
from tinygrad import Tensor, nn
from tinygrad.helpers import TRAINING

import edifice_tt as et
from edifice_tt.contract.plugins import BUILT_INS, Plugins
from edifice_tt.testing import (
    BrokenPromise,
    check_architecture,
    check_scorer,
    check_selector,
    small_pool,
)
from edifice_tt.testing.hidden import hidden_arrays

# --- what comes with the library


@pytest.mark.slow
@pytest.mark.parametrize("scorer", ["linear", "mlp"])
def test_the_built_in_heads_are_sound(scorer):
    check_scorer(scorer, reads="hidden", range="logit")


def test_the_built_in_selectors_are_sound():
    check_selector("best_of_n")
    check_selector("best_of_n", scorer="score")
    check_selector("majority")
    check_selector("majority", answer="text")
    for needs, rule in ((None, "random"), (None, "oracle"), ("logit", "weighted_logit")):
        check_selector(rule, needs)
    for rule in ("weighted", "pessimistic"):
        check_selector(rule, needs="probability")
        check_selector(rule, answer="text")
    check_selector("random", seed=7)
    check_selector("pessimistic", delta=1)


@pytest.mark.slow
def test_the_language_model_is_sound():
    sizes = {"hidden_size": 8, "num_layers": 1, "context_length": 64}
    check_architecture("causal_lm", vocab_size=31, scorer="linear", **sizes)


# --- heads that look strange and are sound


def mean_of_squares(hidden_size):
    """No weight and no state: a formula."""
    return lambda hidden: hidden.square().mean(-1, keepdim=True)


@pytest.mark.slow
def test_a_head_without_weights_is_sound_when_no_number_hides_in_it():
    check_scorer(mean_of_squares, "hidden")


class Unusual:
    """Everything at once that a strict kit could mistake for a breach."""

    def __init__(self, hidden_size, seed=0, temperature=1.0):
        rng = np.random.default_rng(seed)
        self.layers = [nn.Linear(hidden_size, 4), {"out": nn.Linear(4, 1)}]
        for weight in nn.state.get_parameters(self.layers):
            drawn = rng.normal(size=weight.shape).astype(np.float32)
            weight.replace(Tensor(drawn).realize())
        self.gain = Tensor(np.zeros(1, np.float32))  # so nothing shows until it is trained
        self.seen = Tensor([0.0]).is_param_(False)
        self.scales = np.array([1.0, temperature])  # a table of constants beside weights
        self.lock, self.activation = threading.Lock(), lambda x: x.tanh()

    def __call__(self, hidden):
        with self.lock:
            if TRAINING:
                self.seen.assign(self.seen + 1).realize()
            inner = self.activation(self.layers[0](hidden)).dropout(0.5)
            scores = self.layers[1]["out"](inner) * self.gain + self.seen
            return (scores / float(self.scales[1])).half()


@pytest.mark.slow
def test_a_head_with_a_lock_a_buffer_and_a_zero_is_sound():
    """Nothing is pickled, so a lock and a lambda may be there; training's count is a buffer."""
    check_scorer(Unusual, "hidden", temperature=2.0, hidden_size=12)


# --- how the checks are called


def test_a_factory_must_tell_what_it_reads():
    with pytest.raises(
        ValueError, match="give reads='hidden', 'text', 'logprobs', 'states' or 'judge'"
    ):
        check_scorer(mean_of_squares)


@pytest.mark.parametrize("check", [check_scorer, check_selector, check_architecture])
def test_a_name_that_nobody_registered_is_no_broken_promise(check):
    with pytest.raises(et.UnknownNameError, match=r"unknown \w+ 'nobody'"):
        check("nobody")


def test_options_reach_a_text_scorer():
    def make(shortest):
        return lambda prompt, completions: [1 / max(len(c), shortest) for c in completions]

    check_scorer(make, "text", "probability", shortest=3)
    with pytest.raises(BrokenPromise, match=r"'make' raises on the completion '': ZeroDivision"):
        check_scorer(make, "text", "probability", shortest=0)


def test_a_selector_may_refuse_what_it_cannot_weigh():
    """As a rule that adds scores must: a sentence, whatever the order, is an answer."""

    def careful(candidates):
        if any(
            "score" not in c.scores or c.scores["score"] != c.scores["score"] for c in candidates
        ):
            raise ValueError("every candidate needs a score that is a number")
        return et.Choice(
            min(candidates, key=lambda c: (-c.scores["score"], c.index)), "careful", {}
        )

    check_selector(careful)


@pytest.mark.parametrize("needs", ["probability", "logit"])
def test_a_rule_is_tried_on_what_it_needs_alone(needs):
    """As by `select`: no score is missing, NaN or outside, and the scorer is named."""
    seen = set()

    def trusting(candidates, scorer):
        scores = [c.scores[scorer] for c in candidates]
        seen.update(scores)
        return et.Choice(min(candidates, key=lambda c: (-c.scores[scorer], c.index)), "t", {})

    check_selector(trusting, needs)
    assert all(np.isfinite(list(seen)))
    assert all(0 <= score <= 1 for score in seen) == (needs == "probability")
    with pytest.raises(BrokenPromise, match="missing scores: KeyError: 'score'"):
        check_selector(trusting, scorer="score")


def test_a_scorer_of_steps_may_give_as_many_as_it_likes():
    def make():
        def steps(text):
            return [1 / (1 + len(line)) for line in text.split(" ")]

        return lambda prompt, completions: [steps(completion) for completion in completions]

    check_scorer(make, "text", "probability", "step")


def test_a_missing_option_of_an_architecture_is_named():
    with pytest.raises(BrokenPromise) as raised:
        check_architecture("test_time_compute")
    assert str(raised.value) == (
        "architecture 'test_time_compute' of edifice-tt raises when it is built with no options: "
        "ValueError: test_time_compute needs embed_dim; give embed_dim=..."
    )


# --- where numbers hide

LOOSE = [np.ones(2)]


def names_a_global(x):
    return x + LOOSE[0]


class Slotted:
    __slots__ = ("weight",)


def test_numbers_are_found_wherever_they_hide():
    one, slotted = np.ones(3), Slotted()
    slotted.weight = one
    for thing, where in (
        (slotted, "slot 'weight' of Slotted"),
        ({"a": (one,)}, "item 0 of a tuple"),
        (partial(max, one), "item 0 of a tuple"),
        (lambda x: x + one, "closure variable 'one' of '<lambda>'"),
        (lambda x, *, y=one: x + y, "default 0 of '<lambda>'"),
        (names_a_global, "item 0 of a list"),
        (Unusual(2).__call__, "attribute 'scales' of Unusual"),
    ):
        assert where in [found for found, _ in hidden_arrays(thing)]
    assert hidden_arrays(mean_of_squares(3)) == []


def test_what_refers_to_itself_is_searched_once():
    ring = [np.ones(1)]
    ring.append(ring)
    assert len(hidden_arrays(ring)) == 1


# --- the fixtures


@pytest.mark.slow
def test_the_tiny_model_reads_generates_and_scores(edifice_tiny_model):
    lm = edifice_tiny_model
    pool = et.generate(lm, "abc", n=3, seed=1, max_tokens=5)
    assert len({candidate.token_ids for candidate in pool}) == 3
    assert et.score(lm, pool, "linear").scorers == ["linear"]


def test_the_pool_can_be_scored_and_chosen_from(edifice_tiny_model, edifice_pool):
    assert edifice_pool == small_pool()
    assert et.select(edifice_pool, scorer="judge").index == 1  # tied with 2
    assert et.select(edifice_pool, "majority").candidate.answer == "8"
    scored = et.score(edifice_tiny_model, edifice_pool, "linear")
    assert len({candidate.scores["linear"] for candidate in scored}) == 6
    decode = edifice_tiny_model.tokenizer.decode
    assert [decode(c.token_ids) for c in edifice_pool] == [c.text for c in edifice_pool]


def test_the_plugins_are_fresh(edifice_plugins):
    assert type(edifice_plugins) is Plugins
    assert set(BUILT_INS) <= set(edifice_plugins.owners)


def test_the_fixtures_cost_one_module_until_they_are_used():
    code = """
import sys, pytest, edifice_tt
before = set(sys.modules)
import edifice_tt.pytest_plugin
assert set(sys.modules) - before == {"edifice_tt.pytest_plugin"}, set(sys.modules) - before
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_pytest_finds_the_fixtures_without_being_told():
    (found,) = entry_points(group="pytest11", name="edifice_tt")
    assert found.value == "edifice_tt.pytest_plugin"


# --- scorers that are called from several threads


class Keeps:
    """Keeps the text while it asks: what one thread keeps, another overwrites."""

    def __call__(self, prompt, completions):
        return [self.ask(text) for text in completions]

    def ask(self, text):
        self.text = text
        return self.length()

    def length(self):
        return float(len(self.text))


class KeepsTheQuestion(Keeps):
    def __call__(self, prompt, completions, gold):
        self.gold = gold
        return [len(text) + float(self.gold or 0) for text in completions]


class Locks(Keeps):
    def __init__(self):
        self.lock = threading.Lock()

    def ask(self, text):
        with self.lock:
            return super().ask(text)


@pytest.mark.slow
@pytest.mark.parametrize("count", [2, 8])
@pytest.mark.parametrize("factory", [Keeps, KeepsTheQuestion])
@pytest.mark.parametrize("per", ["problem", "answer"])
def test_a_scorer_that_keeps_something_during_a_call_is_no_scorer_for_threads(factory, count, per):
    check_scorer(factory, "text")
    words = f"'{factory.__name__}': {count} threads call it at once, and .* instead of .*keep nothi"
    with pytest.raises(BrokenPromise, match=words):
        check_scorer(factory, "text", concurrency=count, per=per)


@pytest.mark.slow
@pytest.mark.parametrize("per", ["problem", "answer"])
def test_a_scorer_that_locks_what_it_keeps_is_sound_in_threads(per):
    check_scorer(Locks, "text", concurrency=5, per=per)


def test_a_scorer_that_fails_in_threads_is_told_so():
    class Fails(Keeps):
        def ask(self, text):
            self.text = text
            marks = dict.fromkeys([text])
            return float(marks[self.text] is None)

    with pytest.raises(BrokenPromise, match="raises when 7 threads call it at once: KeyError"):
        check_scorer(Fails, "text", concurrency=7)


def test_a_scorer_per_answer_is_never_given_several_or_none():
    def alone():
        def score(prompt, completions):
            (text,) = completions
            return [float(len(text))]

        return score

    check_scorer(alone, "text", per="answer")
    with pytest.raises(BrokenPromise, match="too many values to unpack"):
        check_scorer(alone, "text")


# --- what no pool promises, and what no exception is


def test_a_scorer_is_tried_without_a_gold_answer_which_it_may_refuse():
    def fails():
        return lambda prompt, completions, gold: [float(gold in text) for text in completions]

    def refuses():
        def score(prompt, completions, gold):
            if gold is None:
                raise ValueError("the right answer is not known")
            return [float(gold in text) for text in completions]

        return score

    check_scorer(refuses, "text")
    with pytest.raises(BrokenPromise, match=r"where gold=None.*TypeError.*refuse by a ValueError"):
        check_scorer(fails, "text")


@pytest.mark.parametrize("empty", [[], ()])
def test_no_scores_for_no_completions_may_be_a_tuple(empty):
    check_scorer(
        lambda: lambda prompt, completions: [float(len(x)) for x in completions] or empty, "text"
    )


def test_what_would_end_the_tests_is_a_broken_promise():
    def leaves():
        def score(prompt, completions):
            raise SystemExit("no key")

        return score

    with pytest.raises(BrokenPromise, match=r"raises on the completion .*: SystemExit: no key"):
        check_scorer(leaves, "text")


# --- choices


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"tally": {"4": "many"}}, "tally={'4': 'many'}, expected numbers by name"),
        ({"tally": {4: 1.0}}, "tally={4: 1.0}, expected numbers by name"),
        ({"tally": None}, "tally=None, expected numbers by name"),
        ({"rule": 3}, "rule=3, expected the name of the rule"),
        ({"abstained": "none"}, "abstained='none', expected how many"),
        ({"candidate": "4"}, "candidate='4', expected one of those given"),
    ],
)
def test_a_choice_of_the_wrong_types_is_refused_by_kit_and_select(wrong, words):
    def rule(candidates):
        first = min(candidates, key=lambda one: one.index)
        return et.Choice(**{"candidate": first, "rule": "rule", "tally": {}, **wrong})

    with pytest.raises(BrokenPromise, match=f"gives a Choice on one candidate with {words}"):
        check_selector(rule)
    with pytest.raises(et.PluginError, match=f"rule 'rule' gave a Choice with {words}"):
        et.select(small_pool(), rule)


def test_a_rule_is_tried_on_texts_of_its_author():
    def measured(candidates, answer=None):
        groups = et.group_by_answer(candidates, answer)
        most = max(groups.values(), key=lambda group: (len(group), -group[0].index))
        return et.Choice(most[0], "measured", {})

    def kilos(text):
        return text.partition(" kg")[0] if " kg" in text else None

    with pytest.raises(BrokenPromise, match="no candidate has an answer"):
        check_selector(measured, answer=kilos)
    check_selector(measured, answer=kilos, texts=["2 kg", "3 kg"])
