"""Four bits and a scale: `(q - 8) * d`."""

from edifice_tt.nn.formats.format import Format, WholeNumbers

FORMAT = Format(
    name="Q4_0",
    ggml_type=2,
    weights=32,
    bytes=18,
    scales=(0, 2),
    whole_numbers=WholeNumbers("BYTES(2) >> s % 2 * 4 & 15", bits=4, offset=8),
)
