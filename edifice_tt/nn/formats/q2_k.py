"""Two bits, for each 16 weights a scale and a minimum of four bits, and for all 256 one of each."""

from tinygrad import Tensor, dtypes

from edifice_tt.nn.formats.format import Format, WholeNumbers

# The byte of each 16 weights: its scale, and above that its minimum.
_BYTE = "(s < 8 ? s < 4 ? WORD(0) : WORD(4) : s < 12 ? WORD(8) : WORD(12)) >> s % 4 * 8"


def _formula(blocks: Tensor) -> Tensor:
    shifts = Tensor([0, 2, 4, 6], dtype=dtypes.uint8, device=blocks.device).reshape(1, 1, 4, 1)
    numbers = (blocks[:, 16:80].reshape(-1, 2, 1, 32) >> shifts & 3).reshape(-1, 16, 16)
    scales = blocks[:, :16].unsqueeze(2)
    d, m = (blocks[:, at : at + 2].bitcast(dtypes.float16).float() for at in (80, 82))
    return d.unsqueeze(2) * (scales & 15) * numbers - m.unsqueeze(2) * (scales >> 4)


FORMAT = Format(
    name="Q2_K",
    ggml_type=10,
    weights=256,
    bytes=84,
    scales=(80, 84),
    formula=_formula,
    whole_numbers=WholeNumbers(
        "BYTES(16 + s / 8 * 32 + s % 2 * 16) >> s / 2 % 4 * 2 & 3",
        bits=2,
        scale=f"HALF_AT(80) * CONVERT({_BYTE} & 15)",
        minimum=f"-HALF_AT(82) * CONVERT({_BYTE} >> 4 & 15)",
        run=16,
    ),
)
