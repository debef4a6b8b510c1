"""Metal or CUDA becomes C++ that the player compiles. The text stays as the preprocessor leaves it,
but for words of the dialect that no macro of C++ can stand for.
"""

import re

# What a parameter of a Metal kernel is given by its attribute.
GIVEN = {
    "threadgroup_position_in_grid": "player_group()",
    "thread_position_in_threadgroup": "player_thread()",
    "threadgroups_per_grid": "player_groups()",
    "threads_per_threadgroup": "player_threads()",
    "thread_position_in_grid": "metal::position_in_grid()",
    "thread_index_in_threadgroup": "Index{player_rank()}",
    "thread_index_in_simdgroup": "Index{player_rank() % LANES}",
    "simdgroup_index_in_threadgroup": "Index{player_rank() / LANES}",
    "simdgroups_per_threadgroup": "Index{metal::simdgroups_per_threadgroup()}",
    "threads_per_simdgroup": "Index{LANES}",
}
SHARED = 'static __attribute__((section("shared"), used))'
# A declaration of shared memory; a pointer into it has a `*` before any `[`.
DECLARES_SHARED = re.compile(
    r"([;{}](?:\s|^#.*$)*)threadgroup\b([^;*&=\[]*(?:\[[^;]*)?;)", re.MULTILINE
)
MMA = re.compile(r"\basm\s*(?:volatile)?\s*\((?P<text>(?:\s*\"[^\"]*\")+)(?P<operands>[^;]*)\);")


def metal(text: str) -> str:
    entries = []
    for name, parameters in _kernels(text, r"\bkernel\s+void\s+"):
        entries.append(_entry(name, [_of_metal(one) for one in parameters]))
    text = DECLARES_SHARED.sub(rf"\1{SHARED} \2", re.sub(r"\[\[[^\]]*\]\]", "", text))
    text = re.sub(r"\b(device|threadgroup|thread|kernel)\b", "", text)
    return "\n".join([re.sub(r"\bconstant\b", "const", text), *entries])


def cuda(text: str) -> str:
    entries = []
    for name, parameters in _kernels(text, r"\b__global__\s+void\s+"):
        entries.append(_entry(name, [_declared(one) for one in parameters]))
    return "\n".join([MMA.sub(_mma, re.sub(r"\b__global__\b", "", text)), *entries])


def _kernels(text, begins):
    """The name of each kernel, and its parameters."""
    for found in re.finditer(begins + r"(\w+)\s*\(", text):
        depth, start, parameters = 1, found.end(), []
        for at in range(found.end(), len(text)):
            depth += {"(": 1, ")": -1}.get(text[at], 0)
            if depth == 0 or (depth == 1 and text[at] == ","):
                parameters.append(text[start:at].strip())
                start = at + 1
            if depth == 0:
                break
        yield found[1], [one for one in parameters if one]


def _declared(parameter):
    """The type of a parameter."""
    return re.match(r"(.*?)\w+$", parameter, re.DOTALL)[1].strip(), None


def _of_metal(parameter):
    """The type, and for one that the dialect gives what it is."""
    plain = re.sub(r"\[\[[^\]]*\]\]", "", parameter)
    plain = re.sub(r"\b(device|threadgroup)\b", "", plain)
    kind, _ = _declared(re.sub(r"\bconstant\b", "const", plain).strip())
    attributes = re.findall(r"\[\[\s*(\w+)", parameter)
    return kind, next((GIVEN[one] for one in attributes if one in GIVEN), None)


def _entry(name, parameters):
    """A function that calls a kernel with an array of arguments, and which it only reads."""
    words, read_only, copies = [], [], ""
    for kind, given in parameters:
        if given:
            words.append(f"metal::given<{kind}>({given})")
            continue
        at = len(read_only)
        if "*" in kind:
            words.append(f"({kind})arguments[{at}]")
        else:  # on the thread's own stack, where a reference may point
            plain = kind.rstrip("& ")
            copies += f" {plain} given_{at} = *({plain} *)arguments[{at}];"
            words.append(f"given_{at}")
        read_only.append(str(int(bool(re.search(r"\bconst\b.*\*", kind)))))
    return f"""\
extern "C" {{
__attribute__((visibility("default"), disable_sanitizer_instrumentation))
void player_entry_{name}(void **arguments) {{{copies} {name}({", ".join(words)}); }}
__attribute__((visibility("default")))
extern const unsigned char player_reads_{name}[] = {{{", ".join([*read_only, "0"])}}};
}}"""


def _mma(found):
    """`mma.sync` as a call of what `cuda.h` plays."""
    text = "".join(re.findall(r'"([^"]*)"', found["text"]))
    shape = re.match(
        r"mma\.sync\.aligned\.(m\d+n\d+k\d+)\.row\.col\.(\w+)\.(\w+)\.(\w+)\.(\w+)", text
    )
    if shape is None:
        raise ValueError(f"the player has no instruction {text!r}")
    operands = re.findall(r'"[^"]*"\s*\(((?:[^()]|\([^()]*\))*)\)', found["operands"])
    return f"player_mma_{'_'.join(shape.groups())}({', '.join(operands)}, __builtin_LINE());"
