"""Five bits and a scale: `(q - 16) * d`. The fifth bits stand in front of the others."""

from edifice_tt.nn.formats.format import Format, WholeNumbers

FORMAT = Format(
    name="Q5_0",
    ggml_type=6,
    weights=32,
    bytes=22,
    scales=(0, 2),
    whole_numbers=WholeNumbers(
        "(BYTES(6) >> s % 2 * 4 & 15) | BITS(2) << 4",
        bits=5,
        offset=16,
    ),
)
