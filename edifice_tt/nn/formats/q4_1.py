"""Four bits, a scale and a minimum: `q * d + m`."""

from edifice_tt.nn.formats.format import Format, WholeNumbers

FORMAT = Format(
    name="Q4_1",
    ggml_type=3,
    weights=32,
    bytes=20,
    scales=(0, 4),
    whole_numbers=WholeNumbers("BYTES(4) >> s % 2 * 4 & 15", bits=4, minimum="HALF_AT(2)"),
)
