"""Eight bits and a scale: `q * d`."""

from edifice_tt.nn.formats.format import Format, WholeNumbers

FORMAT = Format(
    name="Q8_0",
    ggml_type=8,
    weights=32,
    bytes=34,
    scales=(0, 2),
    whole_numbers=WholeNumbers("BYTES(2 + s % 2 * 16)", bits=8),
)
