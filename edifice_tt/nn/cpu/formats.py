"""The block formats in C, made from `nn/formats`; what reads it is `c/weights.c`."""

from collections.abc import Iterable, Iterator

from edifice_tt.nn.formats import FORMATS
from edifice_tt.nn.formats.format import Format


def grouped_kind(name: str) -> str:
    """What the C calls the rows of a format that stand together."""
    return f"{name}_grouped"


def kind_as_halves(name: str) -> str:
    """What the C calls a format whose products are taken in float16."""
    return f"{name}_as_halves"


def kind_as_bfloats(name: str) -> str:
    """What the C calls a format whose rows stand together, and whose products are in bfloat16."""
    return f"{name}_as_bfloats"


def name_of(kind: str) -> str:
    """The format of such a kind."""
    return kind.removesuffix("_as_halves").removesuffix("_as_bfloats").removesuffix("_grouped")


def rounding_of(kind: str) -> str:
    """What the C calls that which products with weights of a kind do to activations."""
    of = {"_grouped": "TO_INT8", "_as_bfloats": "TO_BFLOATS", "_as_halves": "TO_HALVES"}
    return of.get(kind.removeprefix(name_of(kind)), "EXACT")


def formats_in_c(kinds: Iterable[str]) -> str:
    """The formats of these kinds of weights, and no others: each takes time to compile."""
    wanted = set(kinds)
    bfloats = [form for form in FORMATS.values() if kind_as_bfloats(form.name) in wanted]
    grouped = [
        form
        for form in FORMATS.values()
        if grouped_kind(form.name) in wanted or form in bfloats  # which are read as they are
    ]
    halves = [form for form in FORMATS.values() if kind_as_halves(form.name) in wanted]
    formats = [
        form
        for form in FORMATS.values()
        if form.name in wanted or form in grouped or form in halves
    ]
    names = ["F32", *(form.name for form in formats), "FIRST_GROUPED"]
    names += [grouped_kind(form.name) for form in grouped]
    names += ["FIRST_AS_BFLOATS", *(kind_as_bfloats(form.name) for form in bfloats)]
    names += ["FIRST_AS_HALVES", *(kind_as_halves(form.name) for form in halves)]
    sizes = {form: f"{form.name}, {form.bytes}, {form.weights}" for form in formats}
    whole = [form for form in formats if form.whole_numbers]
    lists = {
        "FORMATS": list(sizes.values()),
        "NUMBERS": [sizes[form] for form in formats if form not in whole],
        "WHOLE_NUMBERS": [_grouping(f) for f in whole if not f.nibbles and not f.fives],
        "FIVES": [_grouping(form) for form in whole if form.fives],
        "NIBBLES": [_grouping(form) for form in whole if form.nibbles],
        "GROUPED": [_grouping(form) for form in grouped],
        "AS_BFLOATS": [_grouping(form) for form in bfloats],
        "AS_HALVES": [sizes[form] for form in halves],
        "HALVES_OF_NIBBLES": [_grouping(form) for form in halves if form.nibbles],
        "HALVES_OF_NUMBERS": [sizes[form] for form in halves if not form.nibbles],
    }
    lines = [f"typedef enum {{ {', '.join(names)} }} kind;"]
    lines.append(f"#define HAS_HALVES {int(bool(halves))}")
    lines.append(f"#define HAS_BFLOATS {int(bool(bfloats))}")
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
    """What `c/weights.c` reads of a format, as macros."""
    whole = form.whole_numbers
    if whole is None:
        yield f"#define SIXTEEN_{form.name} ({form.c})"
        return
    if form.nibbles:
        values = whole.values or range(-whole.offset, 16 - whole.offset)
        yield f"#define INDEX_{form.name} ({whole.number})"
        yield f"#define VALUES_{form.name} {', '.join(map(str, values))}"
    for what, expression in (
        ("NUMBER", whole.chosen),
        ("SCALE", whole.scale),
        ("MINIMUM", whole.minimum),
    ):
        yield f"#define {what}_{form.name} ({expression})".replace("\n", " ")
