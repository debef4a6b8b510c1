"""Six bits, a scale of eight bits for each 16 weights, and one for all 256: `(q - 32) * s * d`."""

from edifice_tt.nn.formats.format import Format, WholeNumbers

FORMAT = Format(
    name="Q6_K",
    ggml_type=14,
    weights=256,
    bytes=210,
    scales=(208, 210),
    whole_numbers=WholeNumbers(
        "(BYTES(s / 8 * 64 + s % 4 * 16) >> s / 4 % 2 * 4 & 15)"
        " | (SHIFTED(BYTES(128 + s / 8 * 32 + s % 2 * 16), 4 - s / 2 % 4 * 2) & 48)",
        bits=6,
        scale="HALF_AT(208) * SIGNED(192)",
        offset=32,
        run=16,
    ),
)
