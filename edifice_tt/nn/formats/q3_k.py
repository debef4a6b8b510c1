"""Three bits, a scale of six for each 16 weights, one for all 256: `(q - 4) * (s - 32) * d`."""

from tinygrad import Tensor, dtypes

from edifice_tt.nn.formats.format import Format, WholeNumbers


def _formula(blocks: Tensor) -> Tensor:
    def bits(values: Tensor, shifts: list[int]) -> Tensor:
        """Of each byte (N, 1, bytes) these bits and above: (N, shifts, bytes)."""
        by = Tensor(shifts, dtype=dtypes.uint8, device=blocks.device)
        return values >> by.reshape(1, -1, 1)

    third = bits(blocks[:, None, :32], list(range(8))) & 1  # (N, 8, 32)
    lower = bits(blocks[:, 32:96].reshape(-1, 1, 32), [0, 2, 4, 6]) & 3  # (2 N, 4, 32)
    numbers = (lower.reshape(-1, 8, 32) + third * 4).cast(dtypes.int32) - 4
    low = (bits(blocks[:, None, 96:104], [0, 4]) & 15).flatten(1)  # (N, 16)
    high = (bits(blocks[:, None, 104:108], [0, 2, 4, 6]) & 3).flatten(1)
    scales = (low + high * 16).cast(dtypes.int32) - 32
    d = blocks[:, 108:].bitcast(dtypes.float16).float()
    return (d * scales).unsqueeze(2) * numbers.reshape(-1, 16, 16)


FORMAT = Format(
    name="Q3_K",
    ggml_type=11,
    weights=256,
    bytes=110,
    scales=(108, 110),
    formula=_formula,
    whole_numbers=WholeNumbers(
        "(BYTES(32 + s / 8 * 32 + s % 2 * 16) >> s / 2 % 4 * 2 & 3)"
        " | (SHIFTED(BYTES(s % 2 * 16), 2 - s / 2) & 4)",
        bits=3,
        # Four bits of each from byte 96 on, and above them two from byte 104 on.
        scale="HALF_AT(108) * (CONVERT("
        "((s % 8 < 4 ? WORD(96) : WORD(100)) >> (s % 4 * 8 + s / 8 * 4) & 15)"
        " | (WORD(104) >> (s % 4 * 8 + s / 4 * 2) & 3) << 4) - 32)",
        offset=4,
        run=16,
    ),
)
