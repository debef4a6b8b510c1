"""The block formats in the source for GPUs, made from `nn/formats`; `c/blocks.c` reads it."""

from edifice_tt.nn.formats import FORMATS
from edifice_tt.nn.formats.format import Format

_WORDS = {4: "uint", 2: "ushort", 1: "uchar"}
# The weight number `j` of 16, of formats that are nothing but numbers.
_PLAIN = {
    "float16": "half_at(SHORT(32 * s + 2 * j))",
    "bfloat16": "AS_FLOAT(SHORT(32 * s + 2 * j) << 16)",
}


def word_bytes(kind: str) -> int:
    """The bytes that are read together: what divides a block, up to 4."""
    return next(size for size in _WORDS if FORMATS[kind].bytes % size == 0)


def word_type(kind: str) -> str:
    """What the words are in the source."""
    return _WORDS[word_bytes(kind)]


def format_in_source(kind: str) -> str:
    """The definitions of a format that `c/blocks.c` reads."""
    form = FORMATS[kind]
    number, scale, minimum = _expressions(form)
    defines = {
        "UNIT": word_bytes(kind),
        "BLOCK_WEIGHTS": form.weights,
        "BLOCK_WORDS": form.bytes // word_bytes(kind),
        "NUMBER": number,
        "SCALE": scale,
        "MINIMUM": minimum,
        "HAS_MINIMUM": int(minimum != "0"),
    }
    lines = [f"typedef {word_type(kind)} word;"]
    lines += [f"#define {name} {' '.join(str(one).split())}" for name, one in defines.items()]
    return "\n".join(lines)


def _expressions(form: Format) -> tuple[str, str, str]:
    """The number, the scale and the minimum of a weight: it is `number * scale + minimum`."""
    whole = form.whole_numbers
    if whole is None:
        assert form.dtype is not None
        return _PLAIN[form.dtype], "1", "0"
    if whole.bits == 8:
        return f"SIGNED_BYTE({whole.chosen})", whole.scale, whole.minimum
    return f"((int)({whole.chosen}) - {whole.offset})", whole.scale, whole.minimum
