"""The numbers of IQ4_NL, a scale of six bits for each 32 weights, and one for all 256."""

from edifice_tt.nn.formats.format import Format, WholeNumbers
from edifice_tt.nn.formats.iq4_nl import VALUES

FORMAT = Format(
    name="IQ4_XS",
    ggml_type=23,
    weights=256,
    bytes=136,
    scales=(0, 2),
    whole_numbers=WholeNumbers(
        "BYTES(8 + s / 2 * 16) >> s % 2 * 4 & 15",
        bits=8,
        values=VALUES,
        # Four bits of each from byte 4 on, and above them two from byte 2 on.
        scale="HALF_AT(0) * (CONVERT((WORD(4) >> s / 2 * 4 & 15)"
        " | (SHORT(2) >> s / 2 * 2 & 3) << 4) - 32)",
        head=(0, 4),
    ),
)
