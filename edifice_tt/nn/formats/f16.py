"""Floats of 16 bits, so many as a block of the others has."""

from edifice_tt.nn.formats.format import Format

FORMAT = Format(
    name="F16",
    ggml_type=1,
    weights=32,
    bytes=64,
    scales=(0, 64),
    c="for (int i = 0; i < 32; i += 16) *(floats *)(y + i) = FLOATS(*(const halves *)(q + 2 * i));",
)
