"""The upper 16 bits of a float32, so many as a block of the others has."""

from edifice_tt.nn.formats.format import Format

FORMAT = Format(
    name="BF16",
    ggml_type=30,
    weights=32,
    bytes=64,
    scales=(0, 64),
    scale_dtype="bfloat16",
    c="AS_FLOATS(__builtin_convertvector(*(const shorts *)(p + 32 * s), words) << 16)",
)
