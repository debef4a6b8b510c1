"""Messages -> the text of a prompt, by a model's chat template. Knows no token id.

A template is a program from a file, so another process renders it (`template_process`), with little
time and memory. It is kept: a prompt more costs less than a millisecond.
"""

import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date
from functools import lru_cache, partial
from typing import Any

from edifice_tt.pools.chat_text import signs_apart_from, with_plain
from edifice_tt.pools.messages import is_message
from edifice_tt.weights.template_client import Rendered, process

# What a template is given or finds there; an option of that name would hide it.
_RESERVED = (
    *("messages", "add_generation_prompt", "bos_token", "eos_token"),
    *("raise_exception", "strftime_now", "range", "dict", "namespace", "lipsum", "cycler"),
    *("joiner", "loop", "self", "super", "caller", "varargs", "kwargs", "true", "false", "none"),
    *("True", "False", "None"),
)


def check_options(template: str, options: Mapping[str, Any]) -> None:
    """Raise `ValueError` for an option that hides something, is unread or no JSON value."""
    if not isinstance(options, Mapping):
        raise ValueError(f"template options {options!r:.60} must be a dict of names and values")
    for name, value in options.items():
        if not isinstance(name, str) or not name.isidentifier() or name in _RESERVED:
            raise ValueError(
                f"template option {name!r:.40} cannot be set; give one that the template reads, "
                "such as enable_thinking"
            )
        if not re.search(rf"\b{name}\b", template):
            raise ValueError(f"the model's chat template does not read the option {name!r}")
        try:
            json.dumps(value, allow_nan=False)
        except (TypeError, ValueError, RecursionError) as error:
            raise ValueError(
                f"template option {name}={value!r:.40} must be a JSON value ({error})"
            ) from error


def check_message(where: str, message: Any) -> None:
    """Raise `ValueError` for a message that is none, or says more than text and calls of tools."""
    if not is_message(message):
        raise ValueError(
            f"{where}={message!r:.80} must be a dict with role and content, both str; content "
            "may be a list of {'type': 'text', 'text': str} too, and None beside tool_calls"
        )


def render(
    template: str,
    messages: Sequence[Any],
    options: Mapping[str, Any],
    constants: Mapping[str, Any],
    controls: tuple[str, ...],
    day: str | None = None,
) -> Rendered:
    """Render messages and options; where they hold one of the names `controls`, it is plain text.

    `constants` are the values that no user typed; `day` is what `strftime_now` tells, as
    2026-11-28, by default today. Raises `ValueError` when the template fails or takes too long.
    """
    values = {"tools": None, "documents": None, **options, "messages": list(messages)}

    iso_day, names = _check_day(day), _names_of(controls)

    def ask(typed: Mapping[str, Any]) -> Rendered:
        return process.render(template, {**typed, **constants}, iso_day)

    if any(map(_has_parts, messages)):
        values["messages"] = _as_taken(messages, lambda some: ask({**values, "messages": some}))
    rendered = ask(values)
    names_typed = sorted({name for text in _texts(values) for name in names.typed_in(text)})
    if not names_typed:
        return rendered
    marker = _Marker(names, signs_apart_from(template, rendered.text, *_texts(values)))

    def marks(marked: Callable[[str], str]) -> set[int] | None:
        try:
            changed = ask(_map_texts(values, marked)).text
        except ValueError:
            return None
        return marker.places(changed, rendered.text)

    typed = marks(partial(marker.change, chosen=names_typed))
    if typed is None:  # the template looks for some of these names
        typed = set()
        for name in names_typed:
            own = marks(partial(marker.change, chosen=[name]))
            if own is None and name:
                own = marks(partial(marker.surround, name=name))
            if own is None and name:
                raise ValueError(
                    f"the model's chat template treats {name!r}, a control token, in a way of its "
                    "own; leave it out of the messages"
                )
            typed |= own or set()
    spans = (match.span() for match in names.any.finditer(rendered.text))
    plain = [span for span in spans if not typed.isdisjoint(range(*span))]
    return rendered._replace(text=with_plain(rendered.text, plain))


def _has_parts(message: Mapping[str, Any]) -> bool:
    return isinstance(message.get("content"), list | tuple)


def _as_taken(
    messages: Sequence[Mapping[str, Any]], ask: Callable[[Any], Rendered]
) -> list[Mapping[str, Any]]:
    """The messages, with text parts joined where the template takes one text and no list."""
    joined = [
        {**one, "content": "".join(part["text"] for part in one["content"])}
        if _has_parts(one)
        else one
        for one in messages
    ]
    try:
        text = ask(list(messages)).text
    except ValueError:
        return joined
    # A template that only prints a content prints the list as Python writes it.
    lists = [str([*map(dict, one["content"])]) for one in messages if _has_parts(one)]
    return joined if any(one in text for one in lists) else list(messages)


def _check_day(day: str | None) -> str:
    try:
        return (date.today() if day is None else date.fromisoformat(day)).isoformat()
    except (TypeError, ValueError):
        raise ValueError(f"date={day!r:.40} must be a day such as '2026-11-28'") from None


class _Names:
    """The names of control tokens, to be found in what a user typed."""

    def __init__(self, controls: Sequence[str]) -> None:
        names = sorted(filter(None, controls), key=len, reverse=True)
        self.any = re.compile("|".join(map(re.escape, names)) or r"(?!)")
        self.starts = {name[:size] for name in names for size in range(1, len(name))}
        self.ends = {name[size:] for name in names for size in range(1, len(name))}
        self.longest = len(names[0]) if names else 0

    def typed_in(self, text: str) -> set[str]:
        """The names in a text; "" for a part of one at its edge, which others may complete."""
        names = set(self.any.findall(text))
        return names | {""} if self._edges(text) else names

    def places(self, text: str, chosen: Sequence[str]) -> set[int]:
        """A character of each of the chosen names in a text."""
        places = {m.start() for m in self.any.finditer(text) if m.group() in chosen}
        return places | self._edges(text) if "" in chosen else places

    def _edges(self, text: str) -> set[int]:
        inner, sizes = text.strip(), range(1, self.longest)
        begins = any(inner[:size] in self.ends for size in sizes)
        breaks = any(inner[-size:] in self.starts for size in sizes)
        first, last = len(text) - len(text.lstrip()), len(text.rstrip()) - 1
        return {*([first] if begins else []), *([last] if breaks else [])}


_names_of = lru_cache(maxsize=8)(_Names)


class _Marker:
    """Marks names in what a user typed, and finds the marks again in the rendered text."""

    def __init__(self, names: _Names, spare: Iterator[str]) -> None:
        self.names = names
        # The sign of each character that is changed.
        self.signs: dict[str, str] = defaultdict(lambda: next(spare))
        self.before, self.behind = next(spare), next(spare)
        self.around = self.before + self.behind

    def change(self, text: str, chosen: Sequence[str]) -> str:
        """A text in which one character of each chosen name is a sign."""
        characters = list(text)
        for i in self.names.places(text, chosen):
            characters[i] = self.signs[text[i]]
        return "".join(characters)

    def surround(self, text: str, name: str) -> str:
        """A text with a sign before and behind each such name, which a template still finds."""
        signed = f"{self.before}{name}{self.behind}"
        return self.names.any.sub(lambda m: signed if m.group() == name else m.group(), text)

    def places(self, changed: str, text: str) -> set[int] | None:
        """Where the signs are in the text; None where more than signs has changed."""
        back = {sign: character for character, sign in self.signs.items()}
        places, plain, size = set(), [], 0
        for match in re.finditer(f"{self.before}([^{self.around}]*){self.behind}|.", changed, re.S):
            name, sign = match.group(1), match.group()
            if name is not None or sign in back:
                places.add(size)
            plain.append(
                back.get(sign, "" if sign in self.around else sign) if name is None else name
            )
            size += len(plain[-1])
        return places if "".join(plain) == text else None


def _texts(values: Any) -> Iterator[str]:
    if isinstance(values, str):
        yield values
    elif isinstance(values, Mapping | list | tuple):
        for value in values.values() if isinstance(values, Mapping) else values:
            yield from _texts(value)


def _map_texts(values: Any, change: Callable[[str], str]) -> Any:
    if isinstance(values, str):
        return change(values)
    if isinstance(values, Mapping):
        return {name: _map_texts(value, change) for name, value in values.items()}
    return [_map_texts(v, change) for v in values] if isinstance(values, list | tuple) else values
