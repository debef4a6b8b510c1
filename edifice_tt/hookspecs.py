"""The five places where a plugin can take part; documentation and signatures, no code.

A plugin is an installed distribution with an entry point in the group `edifice_tt`:

    [project.entry-points.edifice_tt]
    my-plugin = "my_package"

whose module (or object) carries functions marked `@edifice_tt.hookimpl` and named as below. Every
hook is optional. edifice_tt's own architectures, scorers, selectors and file formats enter by the
same five hooks, before any installed plugin.
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

    Call `register(name, factory, reads=, range=, level=, summary=)`. `reads` says what it sees:

    - `"hidden"`: `factory(hidden_size, **options)` returns a head, called as `head(hidden)` with a
      Tensor (B, T, D) and returning a Tensor (B, T, 1). Its weights are Tensor attributes, so they
      are saved and trained with the model. `options` are those of `scorer_hidden`, `dropout` and
      `seed` that the factory names as parameters.
    - `"text"`: `factory()` returns `scorer(prompt, completions)`: str, list of str -> list of
      float, one per completion.
    - `"logprobs"`: `factory()` returns `scorer(token_logprobs)`: a list of float per candidate
      -> list of float, one per candidate.

    `range` declares the scores: `"probability"` (within [0, 1]), `"logit"` (a probability before
    the sigmoid) or `"unbounded"`. A candidate's score depends on that candidate alone.

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
