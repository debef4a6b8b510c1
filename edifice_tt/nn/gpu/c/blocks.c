// Blocks as GGUF files hold them: what the expressions of all formats are made of. They read the
// weight number `j` of the 16 weights number `s` of a block, from p on, UNIT bytes at a time.

#define BYTE(at) ((uint)(p[(uint)(at) / UNIT] >> ((uint)(at) % UNIT * 8)) & 255u)
#define SHORT(at) (BYTE(at) | BYTE((at) + 1) << 8)
#define WORD(at) (SHORT(at) | SHORT((at) + 2) << 16)
#define CONVERT(x) ((float)(x))
#define AS_FLOATS(x) AS_FLOAT(x)
#ifndef HALF_AT
#define HALF_AT(at) half_at(SHORT(at))                    // the float of 16 bits from byte `at` on
#endif
#define SIGNED_BYTE(x) ((int)((uint)(x) ^ 128u) - 128)
#define SIGNED(at) ((float)SIGNED_BYTE(BYTE((at) + s)))   // of signed bytes that number `s`
#define BYTES(at) BYTE((at) + j)                          // a byte for each weight
#define BITS(at) (BYTE((at) + 2 * s + j / 8) >> j % 8 & 1u) // a bit for each weight
#define SHIFTED(x, by) ((by) < 0 ? (x) >> -(by) : (x) << (by))

// One of 16 bytes, which are held in four numbers.
#define FOUR(a, b, c, d) \
  ((uint)((a) & 255) | (uint)((b) & 255) << 8 | (uint)((c) & 255) << 16 | (uint)((d) & 255) << 24)
#define CHOSEN(index, a, b, c, d, e, f, g, h, i, k, l, m, n, o, q, r) \
  chosen(index, FOUR(a, b, c, d), FOUR(e, f, g, h), FOUR(i, k, l, m), FOUR(n, o, q, r))

FUNCTION uint chosen(uint index, uint first, uint second, uint third, uint fourth) {
  uint four = index < 8 ? (index < 4 ? first : second) : (index < 12 ? third : fourth);
  return four >> index % 4 * 8 & 255u;
}

// In whole numbers: not every device has floats of 16 bits, nor those that are subnormal.
FUNCTION float half_at(uint bits) {
  uint size = bits & 0x7FFFu;
  float number = size < 0x400u ? (float)size * 5.9604644775390625e-8f
                               : AS_FLOAT((size << 13) + 0x38000000u);
  return bits & 0x8000u ? -number : number;
}

#define SIXTEENS (DEPTH / 16)              // of a row
#define BLOCK_SIXTEENS (BLOCK_WEIGHTS / 16)
#define COLUMN(c) ((c) < COLUMNS ? (c) : COLUMNS - 1) // beyond the last: that, to be left out
