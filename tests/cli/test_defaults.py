"""A default stands once, in a public signature; what a command was given, nobody changes."""

import argparse
import ast
import inspect
from pathlib import Path

import pytest

import edifice_tt as et
from edifice_tt import cli
from edifice_tt.cli.options import DEFAULT_MODEL, request_of
from edifice_tt.cli.parser import default_of
from edifice_tt.contract.plugins import OWN_NAME
from edifice_tt.pools.tasks import find_task
from edifice_tt.scoring.steps import DEFAULT
from edifice_tt.training.fit import FitOptions

NO_VALUE = (None, False, [], argparse.SUPPRESS)


def commands():
    parser = cli.make_parser()
    (found,) = (action for action in parser._actions if action.metavar == "COMMAND")
    return found


OWN = [name for name, owner in commands().owners.items() if owner == OWN_NAME]


@pytest.mark.parametrize("name", OWN)
@pytest.mark.first(3)
def test_every_default_of_a_command_is_that_of_a_public_signature(name):
    for action in commands().choices[name]._actions:
        source = getattr(action, "function", None)
        if source is None:
            assert action.default in (*NO_VALUE, DEFAULT_MODEL), action
            continue
        function = source.partition(":")[2]
        assert function in (*et.__all__, FitOptions.__name__)
        public = FitOptions if function == FitOptions.__name__ else getattr(et, function)
        default = inspect.signature(public).parameters[action.dest].default
        assert action.default == (None if action.unset else default), action
        told = f"{default:g}" if isinstance(default, float) else str(default)
        assert told in action.help, action


@pytest.mark.parametrize("name", ["score", "best-of"])
def test_the_help_names_the_usual_reduction_of_steps(name):
    (reduce,) = (a for a in commands().choices[name]._actions if a.dest == "reduce")
    assert f"{DEFAULT} (default)" in reduce.help


def test_a_command_that_is_not_asked_for_imports_no_function_for_its_defaults():
    found = commands()
    (seed,) = (a for a in dict(found.choices)["generate"]._actions if a.dest == "seed")
    assert (seed.default, seed.help) == (None, "default: {}")
    assert found.choices["generate"].get_default("seed") == seed.default == 0


ROOMS = sorted(Path(cli.__file__).parent.glob("*.py"))


def test_nobody_writes_into_the_arguments_of_a_command():
    nodes = [node for room in ROOMS for node in ast.walk(ast.parse(room.read_text()))]
    written = [node for node in nodes if isinstance(node, ast.Attribute)]
    written = [node for node in written if not isinstance(node.ctx, ast.Load)]
    assert written
    assert [ast.unparse(node) for node in written if ast.unparse(node.value) == "arguments"] == []


def asked(*words):
    return cli.make_parser().parse_args(["generate", "q", *words])


def test_what_is_not_given_is_asked_as_generate_does_it():
    request = request_of(asked())
    for name, value in vars(request).items():
        default = default_of("sampling.generate:generate", name)
        assert value == ({} if name == "template_options" else default)


def test_an_argument_comes_before_the_task_and_the_task_before_the_default():
    task = find_task("add")
    request = request_of(asked(), task)
    assert (request.max_tokens, request.stop) == (task.max_tokens, task.stop)
    request = request_of(asked("--max-tokens", "7", "--stop", "x"), task)
    assert (request.max_tokens, request.stop) == (7, ("x",))
