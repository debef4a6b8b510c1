"""What a file says of its tokens, checked: their kinds and bytes, which end an answer.

Knows no library and no text; both sorts of files share it.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from edifice_tt.contract.errors import CheckpointError, reason_of

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED = 1, 2, 3, 4, 5
# The names by which llama.cpp knows what ends an answer.
_END_NAMES = (
    *("<|im_end|>", "<|eot_id|>", "<|eom_id|>", "<|endoftext|>", "<|end_of_text|>", "<|end|>"),
    *("<|return|>", "<|call|>", "<|calls|>", "<|flush|>", "<end_of_turn>", "<turn|>"),
    *("<end_of_utterance>", "<EOT>", "_<EOT>", "[EOT]", "[EOS]"),
    "<\uff5cend\u2581of\u2581sentence\uff5c>",
)
_MOST_IDS = 2**22  # no vocabulary is near it; a damaged id must not cost gigabytes

# GPT-2 writes a byte as a character: itself where that is visible, else the next from U+0100 on.
_VISIBLE = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
BYTES = {chr(byte): bytes([byte]) for byte in _VISIBLE}
BYTES |= {chr(256 + i): bytes([b]) for i, b in enumerate(sorted({*range(256)} - {*_VISIBLE}))}


def piece(text: str, kind: int) -> bytes:
    """The bytes of a token, none where it is not printed."""
    if kind in (UNKNOWN, CONTROL, UNUSED):
        return b""
    table = {} if kind == USER_DEFINED else BYTES
    return b"".join(table.get(character) or character.encode() for character in text)


def take_ends(vocab: Mapping[str, int], kinds: dict[int, int]) -> frozenset[int]:
    """The ids whose names end an answer; where a file calls one something else, it is mended.

    So does llama.cpp. `</s>` alone is believed: in many a vocabulary it is a tag of HTML.
    """
    found = {name: vocab[name] for name in _END_NAMES if name in vocab}
    if kinds.get(vocab.get("</s>", -1)) == CONTROL:
        found["</s>"] = vocab["</s>"]
    kinds.update(dict.fromkeys(found.values(), CONTROL))
    if {"<|return|>", "<|call|>", "<|end|>"} <= found.keys():
        del found["<|end|>"]  # there it ends one message of several in an answer
    return frozenset(found.values())


def check_id(where: str, value: Any, size: int) -> int:
    """A token id; raises `CheckpointError`, naming where it stands, for anything else."""
    if type(value) is not int:
        raise CheckpointError(f"{where}={value!r:.40} must be a token id, a whole number")
    if not 0 <= value < size:
        raise CheckpointError(f"{where}={value} is none of {size} tokens; get the file again")
    return value


def check_ids(vocab: Mapping[str, int], where: str) -> int:
    """How many ids there are, up to the highest; raises `CheckpointError` where that is absurd."""
    size = max(vocab.values(), default=-1) + 1
    if size > _MOST_IDS:
        raise CheckpointError(
            f"{where} has token id {size - 1}; ids up to {_MOST_IDS - 1} are read; get it again"
        )
    return size


def check_flag(where: str, value: Any) -> bool:
    """A yes or no; raises `CheckpointError` for anything else."""
    if type(value) is not bool:
        raise CheckpointError(f"{where}={value!r:.40} must be true or false")
    return value


def check_template(where: str, value: Any) -> str | None:
    """A chat template or None; raises `CheckpointError` for anything else."""
    if value is not None and not isinstance(value, str):
        raise CheckpointError(f"{where}={value!r:.40} must be a text")
    return value


@contextmanager
def library_errors(what: str, advice: str) -> Iterator[None]:
    """Turn whatever the library `tokenizers` raises into one `CheckpointError`."""
    try:
        yield
    except (CheckpointError, KeyboardInterrupt, SystemExit, GeneratorExit):
        raise
    except BaseException as error:  # its panics are no Exception
        raise CheckpointError(f"{what}: {reason_of(error)}; {advice}") from error
