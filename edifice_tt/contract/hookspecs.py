"""The seven places where a plugin can take part; documentation and signatures, no code.

A plugin is an installed distribution with an entry point in the group `edifice_tt`:

    [project.entry-points.edifice_tt]
    my-plugin = "my_package"

whose module (or object) carries functions marked `@edifice_tt.hookimpl` and named as below. Every
hook is optional. What edifice_tt itself offers enters by the same seven hooks, before any installed
plugin.
"""

from argparse import ArgumentParser, _SubParsersAction
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pluggy

hookspec = pluggy.HookspecMarker("edifice_tt")
hookimpl = pluggy.HookimplMarker("edifice_tt")


@hookspec
def register_architectures(register: Callable[..., None]) -> None:
    """Add architectures that `edifice_tt.build` finds by name. Every plugin is called.

    Call `register(name, build=, output_size=, recommended_defaults=, summary=, source=)`:

    - `build(**options)` returns the model, a callable object whose Tensor attributes are its
      weights; it rejects options that it does not know. To be saved and loaded, the model has
      `architecture` (the registered name) and `config` (a dataclass of its options).
    - `output_size(**options)` returns the width of the model's output, without building it.
    - `recommended_defaults()` returns a dict of the options that a user would set.
    - `summary` is one line for `edifice-tt list`; `source` names the paper or the original.
    """


@hookspec
def register_scorers(register: Callable[..., None]) -> None:
    """Add scorers: they give a candidate answer a number, higher is better. Every plugin is called.

    Call `register(name, factory, reads=, range=, level=, model=, summary=)`. `reads` says what it
    sees:

    - `"hidden"`: `factory(hidden_size, **options)` returns a head, called as `head(hidden)` with a
      Tensor (B, T, D) and returning a Tensor (B, T, 1). Its weights are Tensor attributes, so they
      are saved and trained with the model. `options` are those of `scorer_hidden`, `dropout` and
      `seed` that the factory names as parameters.
    - `"text"`: `factory()` returns `scorer(prompt, completions)`: str, list of str -> list of
      float, one per completion.
    - `"logprobs"`: `factory()` returns `scorer(token_logprobs)`: a list of float per candidate
      -> list of float, one per candidate.
    - `"states"`: a verifier, which reads the hidden states of one layer of one model. In place of
      `factory` stands the whole path of its file (see `edifice-tt train`), or `factory()` returns
      that path or an `edifice_tt.Verifier`. The file says which layer and which model, and another
      model is refused. `model` names the model in the catalog, for `edifice-tt list` and as what
      `edifice-tt score` loads. Nothing is opened before the scorer is used.

    `range` declares the scores: `"probability"` (within [0, 1]), `"logit"` (a probability before
    the sigmoid) or `"unbounded"`; a verifier's are always probabilities. A candidate's score
    depends on that candidate alone.

    `level` is `"answer"`, or `"step"` for a scorer of text that gives one list of float per
    completion, a number a step and at least one: `edifice_tt.score(..., reduce=)` makes it one.
    """


@hookspec
def register_selectors(register: Callable[..., None]) -> None:
    """Add selection rules for `edifice_tt.select`. Every plugin is called.

    Call `register(name, function, needs=, summary=)`; `function(candidates, **options)` takes a
    tuple of `Candidate` and returns a `Choice`, which also counts those that `abstained`. It is
    pure: no model, no file, no randomness but what an option `seed` fixes; and what it chooses does
    not depend on the order of the candidates. Into `seed` `edifice_tt.select` mixes the problem's
    id, so that each problem has draws of its own.

    `needs` is None, `"probability"` or `"logit"`: the scores that the rule can use. The function
    then takes an option `scorer`. `edifice_tt.select` always gives it, and refuses a scorer that
    declares another range and a candidate whose score is missing, not finite or outside.
    """


@hookspec
def register_answers(register: Callable[..., None]) -> None:
    """Add answer extractors: what in a text is its answer. Every plugin is called.

    Call `register(name, function, equal=, summary=)`. The name then stands wherever an answer is
    asked for: `answer=` of `edifice_tt.grade`, of the rules and of curves, `--answer`.

    - `function(text)` returns the answer as a str in one spelling, or None when there is none. The
      text is what is left without the model's thinking. The gold answer is read by it too; where it
      finds nothing there, the gold answer stands as it is.
    - `equal(answer, other)` returns True or False. Without it answers are equal when they are the
      same str, and those always are. `other` is the gold answer, or the first answer of a group.

    Both are pure; each pair is asked once. Votes are grouped in the order of the candidates'
    indices: an answer joins the first group to whose first answer it is equal. So `equal` need not
    be transitive. Whatever goes wrong in either is a `PluginError` that names the owner.
    """


@hookspec
def register_tasks(register: Callable[..., None]) -> None:
    """Add tasks: families of problems whose answers a program knows. Every plugin is called.

    Call `register(name, make, summary=, answer=, max_tokens=, stop=, examples_seed=)`.

    - `make(rng)` draws one question from a `random.Random`, and from nothing else: it returns the
      text, which ends where its answer begins, and the answer, both str.
    - `answer` names the extractor that reads answers (`"number"`); `max_tokens` (6) and `stop`
      (the end of the line) say where an answer ends.
    - `examples_seed` (0) draws the six solved examples before each question.

    Which questions are examples, for training and for measuring follows from a hash of their text.
    `edifice_tt.make_problems`, `edifice-tt tasks` and `--task` find it by its name.
    """


@hookspec(firstresult=True)
def load_pretrained(path: Path) -> Any:
    """Load a language model from a file or folder. The first result that is not None is used.

    Return the model, or None for "not mine"; never raise for a file of a foreign format. For a
    damaged file of your own format raise `CheckpointError`.
    """


@hookspec
def register_commands(subparsers: "_SubParsersAction[ArgumentParser]") -> None:
    """Add a sub-command to `edifice-tt`. Every plugin is called, only from the command line.

    Call `subparsers.add_parser(...)` and `set_defaults(run=function)`; `function(arguments)`
    returns the exit status, or None for success.
    """
