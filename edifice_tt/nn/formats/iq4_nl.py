"""Four bits that choose one of 16 numbers, which lie closer around 0, and a scale."""

from tinygrad import Tensor, dtypes

from edifice_tt.nn.formats.format import Format, WholeNumbers

VALUES = (-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113)


def _formula(blocks: Tensor) -> Tensor:
    chosen = (blocks[:, 2:] & 15).cat(blocks[:, 2:] >> 4, dim=1)
    values = Tensor(VALUES, dtype=dtypes.float32, device=blocks.device)
    return values[chosen.cast(dtypes.int32)] * blocks[:, :2].bitcast(dtypes.float16).float()


FORMAT = Format(
    name="IQ4_NL",
    ggml_type=20,
    weights=32,
    bytes=18,
    scales=(0, 2),
    formula=_formula,
    whole_numbers=WholeNumbers("BYTES(2) >> s % 2 * 4 & 15", bits=8, values=VALUES),
)
