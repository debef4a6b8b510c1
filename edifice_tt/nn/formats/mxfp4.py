"""Floats of four bits and an exponent: a whole number from -12 to 12, times half of 2^e."""

from edifice_tt.nn.formats.format import Format, WholeNumbers

FORMAT = Format(
    name="MXFP4",
    ggml_type=39,
    weights=32,
    bytes=17,
    scales=(0, 1),
    scale_dtype="float8_e8m0",
    whole_numbers=WholeNumbers(
        "BYTES(1) >> s % 2 * 4 & 15",
        bits=8,
        values=(0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12),
        # The bits of 2^(e - 128); the smallest two are no normal floats.
        scale="AS_FLOATS(BYTE(0) < 2 ? 0x200000 << BYTE(0) : (BYTE(0) - 1) << 23)",
    ),
)
