"""The block formats in C, made from `nn/formats`; what reads it is `c/weights.c`."""

from collections.abc import Iterable, Iterator

from edifice_tt.nn.formats import FORMATS
from edifice_tt.nn.formats.format import Format


def grouped_kind(name: str) -> str:
    """What the C calls the rows of a format that stand together."""
    return f"{name}_grouped"


def formats_in_c(kinds: Iterable[str]) -> str:
    """The formats of these kinds of weights, and no others: each takes time to compile."""
    wanted = set(kinds)
    grouped = [form for form in FORMATS.values() if grouped_kind(form.name) in wanted]
    formats = [form for form in FORMATS.values() if form.name in wanted or form in grouped]
    names = ["F32", *(form.name for form in formats), "FIRST_GROUPED"]
    names += [grouped_kind(form.name) for form in grouped]
    lists = {
        "FORMATS": [f"{form.name}, {form.bytes}, {form.weights}" for form in formats],
        "WHOLE_NUMBERS": [_grouping(form) for form in formats if form.whole_numbers],
        "GROUPED": [_grouping(form) for form in grouped],
    }
    lines = [f"typedef enum {{ {', '.join(names)} }} kind;"]
    for name, members in lists.items():
        lines.append(f"#define {name}(f) {' '.join(f'f({member})' for member in members)}")
    for form in formats:
        lines += _reading(form)
    return "\n".join(lines)


def _grouping(form: Format) -> str:
    """The name of a format, and its `grouping`."""
    whole = form.whole_numbers
    assert whole is not None
    sizes = [form.bytes, form.weights, whole.bits, whole.offset, whole.run, *form.head]
    return ", ".join(map(str, [form.name, *sizes, int(whole.minimum != "0")]))


def _reading(form: Format) -> Iterator[str]:
    if form.whole_numbers is None:
        signature = f"unpack_{form.name}(float *y, const unsigned char *q)"
        yield f"static inline WIDE void {signature} {{\n{form.c}\n}}"
    else:
        for what in ("number", "scale", "minimum"):
            expression = getattr(form.whole_numbers, what).replace("\n", " ")
            yield f"#define {what.upper()}_{form.name} ({expression})"
