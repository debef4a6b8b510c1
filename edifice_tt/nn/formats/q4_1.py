"""Four bits, a scale and a minimum: `q * d + m`."""

from edifice_tt.nn.formats.format import Format, WholeNumbers

FORMAT = Format(
    name="Q4_1",
    ggml_type=3,
    weights=32,
    bytes=20,
    scales=(0, 4),
    c="""\
float d = HALF(q), m = HALF(q + 2);
octets b = *(const octets *)(q + 4);
*(floats *)y = FLOATS(b & 15) * d + m;
*(floats *)(y + 16) = FLOATS(b >> 4) * d + m;""",
    whole_numbers=WholeNumbers(bits=4, has_minimum=True),
)
