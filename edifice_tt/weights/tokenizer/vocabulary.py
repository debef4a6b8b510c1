"""What a file says of its tokens, checked: their kinds and bytes, which end an answer.

Knows no library and no text; both sorts of files share it.
"""

import re
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import accumulate
from typing import Any, overload

from edifice_tt.contract.errors import CheckpointError, reason_of
from edifice_tt.selection.answers import marks_thinking

UNDEFINED, NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(7)
SPACE = "\u2581"  # how SentencePiece writes one
BYTE_NAME = re.compile("<0x[0-9A-F]{2}>")
# The names by which llama.cpp knows what ends an answer.
_END_NAMES = (
    *("<|im_end|>", "<|eot_id|>", "<|eom_id|>", "<|endoftext|>", "<|end_of_text|>", "<|end|>"),
    *("<|return|>", "<|call|>", "<|calls|>", "<|flush|>", "<end_of_turn>", "<turn|>", "<eos>"),
    *("<end_of_utterance>", "<EOT>", "_<EOT>", "[EOT]", "[EOS]", "</s>", "<|tool_response>"),
    *("[e~[", "<\uff5cend\u2581of\u2581sentence\uff5c>"),
)
# And those with which code is filled in; the last three end an answer too.
FILL_NAMES = {
    "fim_pre": "<|fim_prefix|> <fim-prefix> <fim_prefix> <\uff5cfim\u2581begin\uff5c> <PRE> "
    "\u2581<PRE> <|code_prefix|> <|prefix|>",
    "fim_suf": "<|fim_suffix|> <fim-suffix> <fim_suffix> <\uff5cfim\u2581hole\uff5c> <SUF> "
    "\u2581<SUF> <|code_suffix|> <|suffix|>",
    "fim_mid": "<|fim_middle|> <fim-middle> <fim_middle> <\uff5cfim\u2581end\uff5c> <MID> "
    "\u2581<MID> <|code_middle|> <|middle|>",
    "fim_pad": "<|fim_pad|> <fim-pad> <fim_pad> <PAD> [PAD]",
    "fim_rep": "<|fim_repo|> <|repo_name|> <fim-repo> <REPO> <reponame>",
    "fim_sep": "<|file_sep|>",
}
_FILL_ENDS = ("fim_pad", "fim_rep", "fim_sep")
FILL_ENDS = frozenset(name for role in _FILL_ENDS for name in FILL_NAMES[role].split())
_MOST_IDS = 2**22  # no vocabulary is near it; a damaged id must not cost gigabytes

# GPT-2 writes a byte as a character: itself where that is visible, else the next from U+0100 on.
_VISIBLE = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
BYTES = {chr(byte): bytes([byte]) for byte in _VISIBLE}
BYTES |= {chr(256 + i): bytes([b]) for i, b in enumerate(sorted({*range(256)} - {*_VISIBLE}))}
# As Latin-1, for `translate`. A character below U+0100 that stands for no byte is its own UTF-8.
_LATIN = {i: chr(i).encode().decode("latin-1") for i in range(256)}
_LATIN |= {ord(character): byte.decode("latin-1") for character, byte in BYTES.items()}


class Pieces(Sequence[bytes]):
    """The bytes of each token, end to end: as so many objects they take four times the memory."""

    __slots__ = ("_bytes", "_ends")

    def __init__(self, pieces: Iterable[bytes]) -> None:
        listed = list(pieces)
        self._bytes = b"".join(listed)
        self._ends = array("Q", accumulate(map(len, listed), initial=0))

    def __len__(self) -> int:
        return len(self._ends) - 1

    @overload
    def __getitem__(self, at: int) -> bytes: ...
    @overload
    def __getitem__(self, at: slice) -> list[bytes]: ...
    def __getitem__(self, at: int | slice) -> bytes | list[bytes]:
        which = range(len(self))[at]
        if isinstance(which, range):
            return [self[i] for i in which]
        return self._bytes[self._ends[which] : self._ends[which + 1]]


def piece(text: str, kind: int, byte_level: bool = True) -> bytes:
    """The bytes of a token, none where it is not printed.

    A control token that parts thinking from the answer is printed, or nobody could tell them apart.
    """
    if kind == NORMAL and byte_level:  # as nearly all are
        try:
            return text.translate(_LATIN).encode("latin-1")
        except UnicodeEncodeError:  # a character that is no byte, and stands for itself
            return b"".join(BYTES.get(character) or character.encode() for character in text)
    if kind == CONTROL and marks_thinking(text):
        return text.encode()
    if kind in (UNDEFINED, UNKNOWN, CONTROL, UNUSED):
        return b""
    if kind == BYTE:
        return bytes.fromhex(text[3:5])
    return (text if kind == USER_DEFINED else text.replace(SPACE, " ")).encode()


def take_ends(vocab: Mapping[str, int], kinds: dict[int, int], html: bool) -> frozenset[int]:
    """The ids whose names end an answer; where a file calls one something else, it is mended.

    So does llama.cpp. With `html` a `</s>` is believed to be what the file says: it is also a tag.
    """
    found = {name: vocab[name] for name in _END_NAMES if name in vocab}
    if html and kinds.get(vocab.get("</s>", -1)) != CONTROL:
        found.pop("</s>", None)
    kinds.update(dict.fromkeys(found.values(), CONTROL))
    if found.keys() & {"<|call|>", "<|calls|>"} and found.keys() & {"<|return|>", "<|flush|>"}:
        found.pop("<|end|>", None)  # there it ends one message of several in an answer
    if not html and {"<|tool_response>", "</s>"} <= found.keys():
        kinds[found.pop("</s>")] = NORMAL
    return frozenset(found.values())


def take_fill_ends(
    vocab: Mapping[str, int], kinds: dict[int, int], given: Mapping[str, int | None]
) -> frozenset[int]:
    """The ids that end code which is filled in: by role as the file gives them, else by name."""
    found = dict(given)
    for role, names in FILL_NAMES.items():
        if found.get(role) is None:
            found[role] = next((vocab[name] for name in names.split() if name in vocab), None)
            if (token := found[role]) is not None:
                kinds[token] = CONTROL
    return frozenset(i for role in _FILL_ENDS if (i := found[role]) is not None)


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
