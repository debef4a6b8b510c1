"""The nine hooks that a plugin can implement: documentation and signatures, no code.

A plugin is an installed distribution with an entry point in the group `edifice_tt`:

    [project.entry-points.edifice_tt]
    my-plugin = "my_package"

The module (or object) has functions marked `@edifice_tt.hookimpl` and named as below. Every hook is
optional. edifice_tt registers its own parts through the same hooks, before any installed plugin.
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
      weights; it rejects unknown options. To be saved and loaded, the model needs `architecture`
      (the registered name) and `config` (a dataclass of its options).
    - `output_size(**options)` returns the width of the model's output, without building it.
    - `recommended_defaults()` returns a dict of the options that a user would set.
    - `summary` is one line for `edifice-tt list`; `source` names the paper or the original.
    """


@hookspec
def register_scorers(register: Callable[..., None]) -> None:
    """Add scorers: functions that rate candidates, higher is better. Every plugin is called.

    Call `register(name, factory, reads=, range=, level=, model=, concurrency=, per=, summary=)`.
    `reads` names its input:

    - `"hidden"`: `factory(hidden_size, **options)` returns a head, called as `head(hidden)` with a
      Tensor (B, T, D) and returning a Tensor (B, T, 1). Its weights are Tensor attributes; they are
      saved and trained with the model. `options` are those of `scorer_hidden`, `dropout` and `seed`
      that the factory names as parameters.
    - `"text"`: `factory()` returns `scorer(prompt, completions)`: str, list of str -> list of
      float, one per completion.
      It may have further parameters `messages` (the chat, a list of dicts), `problem` (its id) and
      `gold` (the right answer or None), which are passed by name. `concurrency` is the number of
      calls that may run at once, from several threads: one object serves them all, so it keeps
      nothing during a call. A call is about all candidates of a problem, or about one of them with
      `per="answer"`; the list of completions then holds one. What a call gave is kept.
    - `"logprobs"`: `factory()` returns `scorer(token_logprobs)`: a list of float per candidate
      -> list of float, one per candidate.
    - `"entropy"`, `"self_certainty"`, `"deepconf"`: the same of how sure the model was of each
      token, which a pool holds if it was sampled with `confidence=`.
    - `"states"`: a verifier, which reads the hidden states of one layer of one model. Give the
      absolute path of its file (see `edifice-tt train`) as `factory`, or let `factory()` return
      that path or an `edifice_tt.Verifier`. The file names the layer and the model; any other model
      is refused. `model` is the catalog name that `edifice-tt list` shows and `edifice-tt score`
      loads. The file is opened on first use.
    - `"judge"`: a pretrained reward model. Give the absolute path of its folder or GGUF file as
      `factory`, or let `factory()` return that path, a name that `edifice_tt.load_reward` takes, or
      an `edifice_tt.Judge`. It must have the declared `range` and `level`.

    `range` declares the scores: `"probability"` (within [0, 1]), `"logit"` (a probability before
    the sigmoid) or `"unbounded"`; a verifier always gives probabilities. A candidate's score
    depends on that candidate alone. A factory is called once; what it returns is kept and scores
    every problem. Parameters of `factory` are options: they are given in the
    scorer's name, as in `"deepconf:part=tail:window=256"`, or by `--scorer-option window=256`. Each
    is true or false, a number or a text, by its default or its annotation.

    `level` is `"answer"`, or `"step"` for a judge of steps, or a scorer of text that returns a
    non-empty list of float per completion, one per step. `edifice_tt.score(..., reduce=)` reduces
    the list to one number.
    """


@hookspec
def register_selectors(register: Callable[..., None]) -> None:
    """Add selection rules for `edifice_tt.select`. Every plugin is called.

    Call `register(name, function, needs=, summary=)`; `function(candidates, **options)` takes a
    tuple of `Candidate` and returns a `Choice`, which also counts those that `abstained`. It is
    pure: no model, no file, and no randomness except through an option `seed`. The choice does not
    depend on the order of the candidates. `edifice_tt.select` mixes the problem's id into `seed`,
    so that each problem has its own draws.

    `needs` is None, `"probability"` or `"logit"`: the scores that the rule can use. The function
    then takes an option `scorer`, which `edifice_tt.select` always passes. `select` refuses a
    scorer that declares another range, and a score that is missing, not finite or out of range.
    """


@hookspec
def register_answers(register: Callable[..., None]) -> None:
    """Add answer extractors, which find the answer in a text. Every plugin is called.

    Call `register(name, function, equal=, summary=)`. The name is then accepted wherever an
    extractor is named: `answer=` of `edifice_tt.grade`, of the rules and of curves, `--answer`.

    - `function(text)` returns the answer as a str in canonical form, or None when there is none.
      The text comes without the model's thinking. The function reads the gold answer too; if it
      finds nothing there, the gold answer is used unchanged.
    - `equal(answer, other)` returns True or False. Identical strings are always equal; without
      `equal`, only those are. `other` is the gold answer, or the first answer of a group.

    Both are pure, and `equal` is called once per pair. Votes are grouped in the order of the
    candidates' indices: an answer joins the first group whose first answer equals it. So `equal`
    need not be transitive. An exception in either is raised as a `PluginError` that names the
    owner.
    """


@hookspec
def register_tasks(register: Callable[..., None]) -> None:
    """Add tasks: families of problems whose answers are computed. Every plugin is called.

    Call `register(name, make, summary=, answer=, max_tokens=, stop=, examples_seed=)`.

    - `make(rng)` draws one question from a `random.Random` and no other source. It returns two str:
      the question, which ends where its answer begins, and the answer.
    - `answer` names the extractor that reads answers (`"number"`); `max_tokens` (6) and `stop`
      (the end of the line) say where an answer ends.
    - `examples_seed` (0) draws the six solved examples before each question.

    A hash of its text decides whether a question is an example, for training, or for measuring.
    `edifice_tt.make_problems`, `edifice-tt tasks` and `--task` find the task by its name.
    """


@hookspec
def register_searches(register: Callable[..., None]) -> None:
    """Add searches: ways to spend samples over rows, where they pay. Every plugin is called.

    Call `register(name, make, summary=, needs=, gathers=, breaks=, source=)`. `make(n=, **options)`
    returns the search, an object that holds its settings: `n` is the most rows that it may begin,
    or ask for at once. It has four methods, all pure:

    - `start(problem)` returns the state before anything is asked, as plain JSON: a dict of str,
      numbers, lists, None. Whatever is drawn depends on a seed among the settings, the problem's id
      and the state alone.
    - `ask(state)` returns an `edifice_tt.Ask`: which rows to advance, and until where.
    - `tell(state, rows)` returns the next state, given an `edifice_tt.Row` per row that was asked
      for. Their order does not matter.
    - `done(state)` returns None while the search goes on, then an `edifice_tt.Outcome`.

    `needs` lists what it reads of rows: `"answers"`, `"scores"`, `"probabilities"` (scores within
    [0, 1]), `"confidences"`. `gathers` says that rows become copies of others. `breaks` says what
    no longer holds of the candidates, for those who choose the search.

    A search whose stop depends only on how often each answer was given may have `by_counts(counts,
    rows)`: whether to stop at these counts, falling, after so many rows. `edifice_tt.replay` is
    then exact; the search must choose the most common answer.
    """


@hookspec
def register_executors(register: Callable[..., None]) -> None:
    """Add executors: ways to have many workers do what one process would. Every plugin is called.

    Call `register(name, make, summary=)`. `make(**options)` returns the executor; its parameters,
    all with defaults, are those of `workers` (how many), `cores` and `gpus` (of each worker) and
    `address` that it knows. It raises `EdificeError` or `ValueError` for an address where nobody
    is. `edifice-tt generate --executor NAME --address ...` finds it by its name.

    The executor is a context that ends its workers when it is left, also by Ctrl-C. Its attribute
    `cores` is how many cores each worker may use. It has one method, `map_unordered(start, items)`,
    an iterator of results in any order:

    - `worker = start()` is called once in each worker. Where `worker.refused` is a text, call
      `items.refuse(worker.refused)` and use that worker no more.
    - `items.take()` returns a number and an item, or None while none waits. In one of the workers,
      `worker(item)` returns a list of results, to be yielded as they are. `worker(item, give)`
      calls `give` with each of them at once instead. It raises nothing.
    - `items.done(number)` follows the results of an item. `items.lost(number, reason)` says that
      the worker went with it. The item is then taken again, up to three times in all.

    It ends when no item is out and none waits, or when no worker is left. A worker takes one item
    at a time, and a result may come twice. `start` and items are pickled.
    """


@hookspec(firstresult=True)
def load_pretrained(path: Path) -> Any:
    """Load a language model from a file or folder. The first result other than None is used.

    Return the model, or None for "not mine"; never raise for a file of a foreign format. For a
    damaged file of your own format raise `CheckpointError`.
    """


@hookspec
def register_commands(subparsers: "_SubParsersAction[ArgumentParser]") -> None:
    """Add a sub-command to `edifice-tt`. Every plugin is called, only from the command line.

    Call `subparsers.add_parser(...)` and `set_defaults(run=function)`; `function(arguments)`
    returns the exit status, or None for success.
    """
