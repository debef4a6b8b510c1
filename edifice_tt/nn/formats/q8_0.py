"""Eight bits and a scale: `q * d`."""

from edifice_tt.nn.formats.format import Format, WholeNumbers

FORMAT = Format(
    name="Q8_0",
    ggml_type=8,
    weights=32,
    bytes=34,
    scales=(0, 2),
    c="""\
float d = HALF(q);
const signed_octets *b = (const signed_octets *)(q + 2);
*(floats *)y = FLOATS(b[0]) * d;
*(floats *)(y + 16) = FLOATS(b[1]) * d;""",
    whole_numbers=WholeNumbers(bits=8),
)
