"""The parser of the command line: its commands, who owns each, defaults from public signatures."""

import argparse
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from difflib import get_close_matches
from inspect import signature
from itertools import takewhile
from pkgutil import resolve_name
from typing import Any, NoReturn

from edifice_tt.cli.examples import EXAMPLES
from edifice_tt.cli.settings import defaults_apart, defaults_of, fill
from edifice_tt.cli.terminal import visible
from edifice_tt.contract.errors import PluginError, disputed, name_taken, unknown_name
from edifice_tt.contract.tracing import OWN_NAME

_NEAR = 0.7  # of 1: how like two names must be, so that one may stand for the other
# Options as other programs call them.
ELSEWHERE = {
    **dict.fromkeys(("--samples", "--num-samples", "--candidates", "--num-return-sequences"), "-n"),
    **dict.fromkeys(("--max-new-tokens", "--max-length"), "--max-tokens"),
    **dict.fromkeys(("--out", "--output-file"), "--output"),
    **dict.fromkeys(("--extractor", "--extract"), "--answer"),
    **dict.fromkeys(("--input", "--data", "--dataset", "--questions"), "--problems"),
}


class Parser(argparse.ArgumentParser):
    """An argument parser that reports a mistake in one line, without the usage.

    Its help shows the commands under their headings, or `examples` at its end.
    """

    examples: Sequence[str] = ()
    commands: "Commands | None" = None  # that this is one of

    def format_help(self) -> str:
        commands = next((one for one in self._actions if isinstance(one, Commands)), None)
        if commands is None:
            parts = {"defaults in force": defaults_of(self), "examples": self.examples}
            return super().format_help() + "".join(
                f"\n{heading}:\n" + "".join(f"  {visible(one)}\n" for one in lines)
                for heading, lines in parts.items()
                if lines
            )
        sections: dict[str, list[argparse.Action]] = {}
        for action in commands._choices_actions:
            sections.setdefault(commands.headings[action.dest], []).append(action)
        sections["options"] = self._get_optional_actions()
        formatter = self._get_formatter()
        formatter.add_usage(self.usage, self._actions, self._mutually_exclusive_groups)
        formatter.add_text(self.description)
        for heading, actions in sections.items():
            formatter.start_section(heading)
            formatter.add_arguments(actions)
            formatter.end_section()
        formatter.add_text(self.epilog)
        return formatter.format_help()

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        self._given = list(sys.argv[1:] if args is None else args)
        with defaults_apart(self) as defaults:
            parsed, left = super().parse_known_args(args, namespace)
        fill(parsed, defaults)
        self._check_options(left)
        return parsed, left

    def _check_options(self, words: Iterable[str]) -> None:
        """End with an error if one of the words is like an option and is none of this command."""
        known = list(self._option_string_actions)
        for word in words:
            name = word.partition("=")[0]
            if name.startswith("--") and " " not in word and len(name) > 2:
                if any(one.startswith(name) for one in known):
                    continue
                self.error(f"unknown option {name}{self._guess(name)}")

    def _guess(self, name: str) -> str:
        """What an option that is none of this command may have meant, if anything comes near."""
        if (usual := ELSEWHERE.get(name)) in self._option_string_actions:
            return f"; did you mean {usual}?"
        mine = [one[2:] for one in self._option_string_actions if one.startswith("--")]
        if near := get_close_matches(name[2:], mine, n=1, cutoff=_NEAR):
            return f"; did you mean --{near[0]}?"
        all_commands = self.commands.choices.items() if self.commands else ()
        having = [one for one, parser in all_commands if name in parser._option_string_actions]
        return f"; it is an option of {', '.join(having)}" if having else ""

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices:
            is_command = isinstance(action, Commands)
            wrong = unknown_name("command" if is_command else "value", value, action.choices)
            raise argparse.ArgumentError(None if is_command else action, str(wrong))

    def error(self, message: str) -> NoReturn:
        if ambiguous := re.match(r"ambiguous option: ([^ =]+)", message):
            message = f"unknown option {ambiguous[1]}{self._guess(ambiguous[1])}"
        if "required" in message:  # perhaps an option is missing because it is misspelt
            given, self._given = self._given, []
            self._check_options(takewhile(lambda word: word != "--", given))
        self.exit(2, visible(f"{self.prog}: error: {message}; see {self.prog} --help\n"))


def default_of(function: str, parameter: str) -> Any:
    """The default in a function's signature; the function as "sampling.generate:generate"."""
    return signature(resolve_name(f"edifice_tt.{function}")).parameters[parameter].default


def add_option(
    command: Any,
    function: str,
    options: str | Sequence[str],
    help: str = "default: {}",
    unset: bool = False,
    **more: Any,
) -> None:
    """Add an option, by one name or several, as a function's parameter: its type and default.

    `{}` in the help is the default. With `unset` that is for the help alone: the command is to know
    whether the option was given.
    """
    names = [options] if isinstance(options, str) else options
    action = command.add_argument(*names, help=help, **more)
    action.function, action.unset = function, unset


def whole_number(least: int, like: str) -> Callable[[str], int]:
    """The type of an argument that is a whole number, at least that."""

    def read(text: str) -> int:
        if not text.strip().isdecimal() or int(text) < least:
            expected = f"expected a whole number from {least}, as in {like}"
            raise argparse.ArgumentTypeError(f"{text!r}: {expected}")
        return int(text)

    return read


def whole_numbers(least: int, like: str) -> Callable[[str], list[int]]:
    """The type of an argument that holds several of these, between commas."""
    return lambda text: [*map(whole_number(least, like), text.split(","))]


class _Parsers(dict[str, Any]):
    """The parsers of commands by name; one that is looked up knows the defaults of its options.

    The functions in whose signatures they stand take their time to import.
    """

    def __getitem__(self, name: str) -> Any:
        parser = super().__getitem__(name)
        for action in (action for action in parser._actions if hasattr(action, "function")):
            default = default_of(action.function, action.dest)
            action.help = action.help.format(default)
            action.type = action.type or type(default)
            action.default = None if action.unset else default
        return parser


class Commands(argparse._SubParsersAction):  # type: ignore[type-arg]
    """The sub-commands with their owners and headings, and the plugins that failed to add theirs.

    A plugin's commands stay only after `keep`.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.choices = self._name_parser_map = _Parsers()
        self.owner = self.heading = self.chosen = ""
        self.owners: dict[str, str] = {}
        self.disputed: dict[str, str] = {}
        self.headings: dict[str, str] = {}
        self.added: list[str] = []
        self.failures: list[Any] = []

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: Any = None) -> None:
        self.chosen = values[0]  # an option of a plugin's may be called `command` too
        if owners := self.disputed.get(self.chosen):
            raise disputed(f"command {self.chosen!r}", owners)
        super().__call__(parser, namespace, values, option_string)

    def begin(self, owner: str, heading: str = "") -> None:
        """From here on `owner` adds commands; those added before and not kept are dropped."""
        for name in self.added:
            del self.choices[name], self.owners[name], self.headings[name]
        self._choices_actions = [a for a in self._choices_actions if a.dest in self.choices]
        self.owner, self.heading, self.added = owner, heading or f"from {owner}", []

    def keep(self) -> None:
        """Keep what was added since `begin`."""
        self.added = []

    def add(self, name: str, run: Callable[..., int | None], summary: str, *groups: Any) -> Any:
        """Add a command of our own, with the arguments that each of `groups` adds."""
        command = self.add_parser(name, help=summary, description=summary.capitalize() + ".")
        command.add_argument("--json", action="store_true", help="print JSON")
        command.set_defaults(run=run)
        command.examples = EXAMPLES[name]
        for add_group in groups:
            add_group(command)
        return command

    def add_parser(self, name: str, **options: Any) -> Any:
        """Add a command, as argparse does. Raises `NameTakenError` with both owners."""
        names = [name, *options.get("aliases", ())]
        for one in names:
            if one in self.owners:
                if self.owner != self.owners[one] != OWN_NAME:
                    self.disputed[one] = f"{self.owners[one]} and by {self.owner}"
                raise name_taken(f"command {one!r}", self.owners[one], self.owner)
        try:
            str(options.get("help")) % {"prog": name}
        except (ValueError, TypeError, KeyError) as error:  # it would end `edifice-tt --help`
            raise PluginError(
                f"command {name!r}: help={options['help']!r} holds a bare %; write %%"
            ) from error
        command = super().add_parser(name, **options)
        if isinstance(command, Parser):
            command.commands = self
        self.owners |= dict.fromkeys(names, self.owner)
        self.headings |= dict.fromkeys(names, self.heading)
        self.added += names
        return command
