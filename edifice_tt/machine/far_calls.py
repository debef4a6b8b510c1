"""Compiled programs reach the C library from wherever they lie in memory.

clang copies large structures by calls of `memcpy`. On x86 such a call holds a distance of 32 bits.
tinygrad 0.14 cuts longer ones off. So a program that lies more than 2 GiB from the C library, as
behind a large model, jumps to nowhere. From 4 GiB on it is not loaded. On Arm it makes a bridge, as
we do here.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

_JUMP = b"\xff\x25\x00\x00\x00\x00"  # to the address of 64 bits that follows


@lru_cache(maxsize=1)
def reach_far() -> None:
    """Let tinygrad load programs with bridges. Once for a process."""
    from tinygrad.runtime.support import elf

    elf.elf_loader = _with_bridges(elf.elf_loader)


def _with_bridges(load: Callable[..., Any]) -> Callable[..., Any]:
    from tinygrad.runtime.autogen import libc

    def loader(*arguments: Any, **options: Any) -> Any:
        image, sections, places = load(*arguments, **options)
        if not any(kind == libc.R_X86_64_PLT32 for *_, kind, _ in places):
            return image, sections, places
        image, bridges, near = bytearray(image), dict[int, int](), []
        for place, target, kind, addend in places:
            if kind == libc.R_X86_64_PLT32:
                if target not in bridges:
                    image += bytes(-len(image) % 16)
                    bridges[target] = len(image)
                    image += _JUMP + target.to_bytes(8, "little")
                target, kind = bridges[target], libc.R_X86_64_PC32
            near.append((place, target, kind, addend))
        return memoryview(image), sections, near

    return loader
