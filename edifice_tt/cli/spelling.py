"""Options in errors, as they are spelled at the command line: `--batch-size 16`."""

import argparse
import re
import shlex
from typing import Any

_IN_A_CALL = re.compile(r"\w\([^()]*$")
# A name and its value, as Python spells them; not a part of a longer name or of a quotation.
_PAIR = re.compile(r"(?<![\w.:'\"/-])([a-z]\w*)=('[^']*'|\[[^\]]*\]|[^\s,;:)\]'\"]+)")


def as_typed(message: str, arguments: argparse.Namespace) -> str:
    """An error's text with the options of the command that runs as they are typed.

    A name stays where the message or what the user typed has both spellings.
    """
    commands = getattr(arguments, "_commands", None)
    # By `get`, which does not look up defaults: that may be what failed.
    parser = commands and commands.choices.get(commands.chosen)
    if parser is None:
        return message
    actions = {action.dest: action for action in parser._actions}
    typed = " ".join(str(v) for name, v in vars(arguments).items() if not name.startswith("_"))

    def spell(match: "re.Match[str]") -> str:
        action = actions.get(match[1])
        if action is None or not action.option_strings or re.search(rf"\b{match[1]}=", typed):
            return match[0]
        flag, value = _flag(action), match[2]
        is_off = value == "None" or (action.nargs == 0 and value != "True")
        in_a_call = _IN_A_CALL.search(message[: match.start()])
        if is_off or in_a_call or re.search(rf"{flag}\b", message):
            return match[0]
        return flag if action.nargs == 0 else f"{flag} {_value(value)}"

    return _PAIR.sub(spell, message)


def _flag(action: argparse.Action) -> str:
    """The name of an option: `-n`, else the first long one."""
    long = [one for one in action.option_strings if one.startswith("--")]
    short = f"-{action.dest}"
    return short if short in action.option_strings or not long else long[0]


def _value(value: Any) -> str:
    """A value without the quotes of Python; a list with commas."""
    if value.startswith("["):
        return ",".join(shlex.quote(one.strip(" '")) for one in value[1:-1].split(","))
    return shlex.quote(value[1:-1]) if value.startswith("'") else str(value)
