"""The messages of a chat, as a pool keeps them. Knows no template and no tokenizer."""

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NoReturn


class Message(dict[str, Any]):
    """One message of a chat: `role`, `content`, and what else it was given. It cannot be changed.

    A `dict`, so it equals the one that it was made of, as that comes back from a file. It goes to
    any chat template. Raises `ValueError` for what is no message, and for values that JSON lacks.
    """

    def __init__(self, fields: Mapping[str, Any] | Iterator[tuple[str, Any]]) -> None:
        if isinstance(fields, Iterator):  # as `dataclasses.asdict` makes a dict
            fields = dict(fields)
        if not is_message(fields):
            raise ValueError(
                f"{fields!r:.80} is no message; it needs a role and a content, both str"
            )
        try:
            text = json.dumps(dict(fields), allow_nan=False, ensure_ascii=False)
            super().__init__(json.loads(text.encode()))
        except (TypeError, ValueError, RecursionError) as error:
            raise ValueError(f"messages must hold JSON values only ({error})") from error

    @property
    def role(self) -> str:
        """Who speaks: `system`, `user`, `assistant` or another that the template knows."""
        return str(self["role"])

    @property
    def content(self) -> Any:
        """What is said: a str, a list of text parts, or None beside `tool_calls`."""
        return self.get("content")

    def __reduce__(self) -> tuple[Any, ...]:
        return Message, (dict(self),)

    def _refuse(self, *_: object, **__: object) -> NoReturn:
        """Raises `TypeError`."""
        raise TypeError("a message cannot be changed; make another: {**message, 'content': ...}")

    __setitem__ = __delitem__ = __ior__ = _refuse
    clear = pop = popitem = setdefault = update = _refuse


def keep(messages: Iterable[Mapping[str, Any]]) -> tuple[Message, ...]:
    """Messages that cannot be changed, and share nothing with those given.

    Raises `ValueError` as `Message` does, and when there are none.
    """
    kept = tuple(one if type(one) is Message else Message(one) for one in messages)
    if not kept:
        raise ValueError("there are no messages; give at least one, or a text as the prompt")
    return kept


def is_message(value: Any) -> bool:
    """Whether it has a role, and a content of text; or calls of tools and no content."""
    if not isinstance(value, Mapping) or not isinstance(value.get("role"), str):
        return False
    content = value.get("content")
    if content is None:
        return bool(value.get("tool_calls"))
    parts = content if isinstance(content, list | tuple) else ()
    return isinstance(content, str | list | tuple) and all(map(_is_text_part, parts))


def _is_text_part(part: Any) -> bool:
    return (
        isinstance(part, Mapping)
        and part.get("type") == "text"
        and isinstance(part.get("text"), str)
    )
