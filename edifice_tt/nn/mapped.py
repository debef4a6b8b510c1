"""Models whose weights lie in a mapped file: is it still what was loaded? Knows no format."""

from collections.abc import Callable
from typing import Any


class MappedFile:
    """A file in which weights lie; `check` raises when it is no longer what was loaded.

    Copies share the weights and this; a pickle has the numbers themselves, and None in its place.
    """

    __slots__ = ("check",)  # whoever looks for weights in a model walks into every `__dict__`

    def __init__(self, check: Callable[[], None]) -> None:
        self.check = check

    def __deepcopy__(self, memo: object) -> "MappedFile":
        return self

    def __reduce__(self) -> tuple[type[None], tuple[()]]:
        return type(None), ()


def check_unchanged(model: Any) -> None:
    """Raise `CheckpointError` when the file changed in which a model's weights are mapped.

    For the start of each call that reads weights: they would be other numbers, or none, and reading
    what is no longer there ends the process. It costs one question to the operating system.
    """
    file: MappedFile | None = getattr(model, "mapped_file", None)
    if file is not None:
        file.check()
