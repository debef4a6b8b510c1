"""The block formats in the source for GPUs, made from `nn/formats`; `c/block.c` reads it."""

from edifice_tt.nn.formats import FORMATS
from edifice_tt.nn.formats.format import Format

_WORDS = {4: "uint", 2: "ushort", 1: "uchar"}
# The weight number `j` of 16, of formats that are nothing but numbers.
_PLAIN = {
    "float16": "HALF_AT(32 * s + 2 * j)",
    "bfloat16": "AS_FLOAT(SHORT(32 * s + 2 * j) << 16)",
}


def word_bytes(kind: str, most: int = 4) -> int:
    """The bytes that are read together: what divides a block, up to `most`."""
    return next(size for size in _WORDS if size <= most and FORMATS[kind].bytes % size == 0)


def word_type(kind: str, most: int = 4) -> str:
    """What the words are in the source."""
    return _WORDS[word_bytes(kind, most)]


def format_in_source(kind: str, most: int = 4) -> dict[str, int | str]:
    """The definitions of a format that `c/block.c` reads."""
    form = FORMATS[kind]
    number, scale, minimum = (" ".join(one.split()) for one in _expressions(form))
    return {
        **named_after(kind),
        "WORD_TYPE": word_type(kind, most),
        "UNIT": word_bytes(kind, most),
        "BLOCK_WORDS": form.bytes // word_bytes(kind, most),
        "NUMBER": number,
        "SCALE": scale,
        "MINIMUM": minimum,
    }


def named_after(kind: str) -> dict[str, int | str]:
    """What who uses `c/block.c` needs: how it names things of a format, and the block's size."""
    return {"FORMAT(name)": f"name##_{kind}", "BLOCK_WEIGHTS": FORMATS[kind].weights}


def in_bfloat16(kind: str) -> dict[str, int]:
    """What `c/matrices.c` needs: how many weights share a scale, how many bfloat16 are one."""
    whole = FORMATS[kind].whole_numbers
    # One holds 8 bits and a sign; the 11 bits of a float16 take two.
    pieces = 2 if whole is None and FORMATS[kind].dtype == "float16" else 1
    has_minimum = whole is not None and whole.minimum != "0"
    return {
        "RUN": 32 if whole is None else whole.run,
        "PIECES": pieces,
        "HAS_MINIMUM": int(has_minimum),
    }


def _expressions(form: Format) -> tuple[str, str, str]:
    """The number, the scale and the minimum of a weight: it is `number * scale + minimum`."""
    whole = form.whole_numbers
    if whole is None:
        assert form.dtype is not None
        return _PLAIN[form.dtype], "1", "0"
    if whole.bits == 8:
        return f"SIGNED_BYTE({whole.chosen})", whole.scale, whole.minimum
    return f"((int)({whole.chosen}) - {whole.offset})", whole.scale, whole.minimum
