"""Four bits and a scale: `(q - 8) * d`."""

from edifice_tt.nn.formats.format import Format, WholeNumbers

FORMAT = Format(
    name="Q4_0",
    ggml_type=2,
    weights=32,
    bytes=18,
    scales=(0, 2),
    c="""\
float d = HALF(q);
octets b = *(const octets *)(q + 2);
*(floats *)y = (FLOATS(b & 15) - 8) * d;
*(floats *)(y + 16) = (FLOATS(b >> 4) - 8) * d;""",
    whole_numbers=WholeNumbers(bits=4, offset=8),
)
