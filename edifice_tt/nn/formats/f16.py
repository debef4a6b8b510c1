"""Floats of 16 bits, so many as a block of the others has."""

from edifice_tt.nn.formats.format import Format

FORMAT = Format(
    name="F16",
    ggml_type=1,
    weights=32,
    bytes=64,
    scales=(0, 64),
    c="FLOATS(*(const halves *)(p + 32 * s))",
)
