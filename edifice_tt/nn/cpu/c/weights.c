// Weights as they are stored: rows of floats, or of blocks as GGUF files hold them, or for products
// in whole numbers 16 rows at a time.
//
// Made from `nn/formats` and put before this room: `kind`, which is F32, then each format, then each
// that is grouped; a function unpack_NAME(y, q) for one block of each format; and
//   FORMATS(f): f(NAME, bytes of a block, weights of a block) for each format,
//   GROUPED(f): f(NAME, bits of a weight, what is taken off it, has it a minimum) for each grouped.

typedef struct {
  const void *data;  // (columns, depth)
  const float *bias; // (columns), or none
  kind kind;
} weight;

typedef struct {
  long bytes, weights;
} block_size;

#define SIZE(name, bytes, weights) [name] = {bytes, weights},
static const block_size block_of[] = {[F32] = {4, 1}, FORMATS(SIZE)};

// Where a row begins. Rows of floats need be no multiple of a block.
static inline const unsigned char *row_of(weight w, long row, long depth) {
  block_size block = block_of[w.kind];
  return (const unsigned char *)w.data + row * depth * block.bytes / block.weights;
}

// Groups of 16 rows (columns of the product), block by block: 16 scales in float32, or 16 halves and
// 16 minima; then of each column in turn 4 bytes, as in the file's block. The last group is filled up
// with zeros.

typedef struct {
  int bits, offset, has_minimum;
} grouping;

static inline long group_bytes(grouping g) { return 64 + 64 * g.bits; }

// y (depth): one row of the weight.
static WIDE void unpack_grouped(float *y, weight w, long row, long depth, grouping g) {
  long bytes = group_bytes(g), n = row % 16;
  const unsigned char *p = (const unsigned char *)w.data + row / 16 * (depth / 32) * bytes;
  for (float *end = y + depth; y < end; y += 32, p += bytes) {
    float d = g.has_minimum ? HALF(p + 2 * n) : ((const float *)p)[n];
    for (int k = 0; k < 32; k++) {
      int in = g.bits == 8 ? k : k % 16, q = p[64 + in / 4 * 64 + n * 4 + in % 4];
      if (g.bits == 8) q = (signed char)q;
      else q = k < 16 ? q & 15 : q >> 4;
      y[k] = (q - g.offset) * d;
      if (g.has_minimum) y[k] += HALF(p + 32 + 2 * n);
    }
  }
}

// y (depth): a row of floats that is copied, or of blocks that are unpacked.
static WIDE void unpack_row(float *y, weight w, long row, long depth) {
  const unsigned char *q = row_of(w, row, depth);
  float *end = y + depth;
  switch (w.kind) {
  case F32:
    for (long k = 0; k < depth; k++) y[k] = ((const float *)q)[k];
    return;
#define UNPACK(name, bytes, weights) \
  case name: \
    for (; y < end; y += weights, q += bytes) unpack_##name(y, q); \
    return;
    FORMATS(UNPACK)
#define UNPACK_GROUPED(name, bits, offset, has_minimum) \
  case name: \
    unpack_grouped(y, w, row, depth, (grouping){bits, offset, has_minimum}); \
    return;
    GROUPED(UNPACK_GROUPED)
  }
}

// out (count, depth): the rows of w that `ids` name; zeros for an id that is not in 0 .. rows - 1.
static WIDE void lookup(float *out, const int *ids, long count, weight w, long rows, long depth) {
  for (long i = 0; i < count; i++)
    if (ids[i] >= 0 && ids[i] < rows) unpack_row(out + i * depth, w, ids[i], depth);
    else
      for (long k = 0; k < depth; k++) out[i * depth + k] = 0;
}
