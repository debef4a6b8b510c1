// What a product does with its numbers: each is a part of `out`, is added to what was there
// `before`, or is gated, by another product of the same kernel or by one that was `before`.
#define AT(row, column) ((row) * ALL_COLUMNS + OFFSET + (column))

FUNCTION float activated(float x) {
#if IS_GELU
  return 0.5f * x * (1 + TANH(0.7978845608028654f * (x + 0.044715f * x * x * x)));
#else
  return x / (1 + EXP(-x));
#endif
}

#if ADDS
#define PUT(row, column, value, other) \
  out[AT(row, column)] = before[AT(row, column)] + RESIDUAL * (value)
#elif GATED == 2
#define PUT(row, column, value, other) out[AT(row, column)] = activated(value) * (other)
#elif GATED
#define PUT(row, column, value, other) \
  out[AT(row, column)] = activated(before[AT(row, column)]) * (value)
#else
#define PUT(row, column, value, other) out[AT(row, column)] = value
#endif
