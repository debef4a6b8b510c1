"""Five bits, a scale and a minimum: `q * d + m`. The fifth bits stand in front of the others."""

from edifice_tt.nn.formats.format import Format, WholeNumbers

FORMAT = Format(
    name="Q5_1",
    ggml_type=7,
    weights=32,
    bytes=24,
    scales=(0, 4),
    whole_numbers=WholeNumbers(
        "(BYTES(8) >> s % 2 * 4 & 15) | BITS(4) << 4",
        bits=5,
        minimum="HALF_AT(2)",
    ),
)
