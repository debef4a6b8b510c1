// Weights as they are stored: rows of floats, or of blocks as GGUF files hold them, or for products
// in whole numbers 16 rows at a time.
//
// Made from `nn/formats` and put before this room, of the formats that a kernel reads: `kind`, which is
// F32, then each format, then each that is grouped; unpack_NAME(y, q) for one block of numbers; and
//   FORMATS(f): f(NAME, bytes of a block, weights of a block) for each format,
//   WHOLE_NUMBERS(f): f(NAME, as `grouping`) for those whose weights are whole numbers; and for each
//   NUMBER_NAME, SCALE_NAME and MINIMUM_NAME,
//   GROUPED(f): the same for each grouped.
//
// These three read the 16 weights number `s` of a block. Here they read a block of one row, from p
// on; there is a number for each of 16 weights, and `s` are all 16 where scales are read. In `int8.c`
// they read a group of 16 rows.

#define CONVERT(x) FLOATS(x)        // whole numbers as floats
#define AS_FLOATS(x) ((floats)(x))  // the floats that have these bits
#define HALF_AT(at) HALF(p + (at))  // the float of 16 bits from byte `at` on
#define BYTE(at) ((words)(unsigned)p[at]) // one byte, two, four
#define SHORT(at) ((words)(unsigned)*(const unsigned short *)(p + (at)))
#define WORD(at) ((words)*(const unaligned *)(p + (at)))
#define SIGNED(at) FLOATS(*(const signed_octets *)(p + (at))) // of signed bytes that number `s`
#define BYTES(at) (*(const octets *)(p + (at))) // a byte for each weight
#define BITS(at) bits_of(p + (at) + 2 * s)      // a bit for each weight; of all bits those number `s`
#define SHIFTED(x, by) ((by) < 0 ? (x) >> -(by) : (x) << (by)) // bytes
#define CHOSEN(index, ...) chosen((octets)(signed_octets){__VA_ARGS__}, index) // from 16 bytes

typedef unsigned unaligned __attribute__((aligned(1)));

static inline WIDE octets bits_of(const unsigned char *p) {
  octets bit = {1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128}, b = p[0];
  b.hi = p[1];
  return (octets)((b & bit) == bit) & 1;
}

static inline WIDE octets chosen(octets table, octets index) {
#if defined(__SSSE3__)
  return __builtin_ia32_pshufb128(table, index);
#elif defined(__ARM_NEON)
  __asm__("tbl %0.16b, {%1.16b}, %0.16b" : "+w"(index) : "w"(table));
  return index;
#else
  for (int i = 0; i < 16; i++) index[i] = table[index[i]];
  return index;
#endif
}

// All that is taken off is in the second term, which is as exact.
#define UNPACK_WHOLE(name, bytes, weights, bits, offset, ...) \
  static inline WIDE void unpack_##name(float *y, const unsigned char *p) { \
    floats d, m; \
    { \
      const words s = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}; \
      (void)s; \
      d = SCALE_##name, m = MINIMUM_##name; \
      if (offset) m -= d * offset; \
    } \
    UNROLL for (int s = 0; s < weights / 16; s++) { \
      int by = weights == 32 ? 0 : s; /* a block of 32 has one scale, which need be in no vector */ \
      octets q = NUMBER_##name; \
      floats f = bits == 8 ? FLOATS((signed_octets)q) : FLOATS(q); \
      ((floats *)y)[s] = f * d[by] + m[by]; \
    } \
  }
WHOLE_NUMBERS(UNPACK_WHOLE)

typedef struct {
  const void *data;  // (columns, depth)
  const float *bias; // (columns), or none
  kind kind;
} weight;

typedef struct {
  long bytes, weights;
} block_size;

#define SIZE(name, bytes, weights) [name] = {bytes, weights},
#define GROUPED_SIZE(name, bytes, weights, ...) [name##_grouped] = {bytes, weights},
static const block_size block_of[] = {[F32] = {4, 1}, FORMATS(SIZE) GROUPED(GROUPED_SIZE)};

// Where a row begins. Rows of floats need be no multiple of a block.
static inline const unsigned char *row_of(weight w, long row, long depth) {
  block_size block = block_of[w.kind];
  return (const unsigned char *)w.data + row * depth * block.bytes / block.weights;
}

// The weight from a row on; where rows are grouped, the first of a group.
static inline weight from_row(weight w, long row, long depth) {
  w.data = row_of(w, row, depth);
  return w;
}

// Groups of 16 rows (columns of the product), block by block; of 16 blocks first the first number of
// each, then the second, and so on. Numbers are of 4 bytes, but in the head. The last group is filled
// up with zeros.
typedef struct {
  long bytes, weights;            // of a block
  int bits, offset;               // of a weight, and what is taken off it
  int run;                        // weights that share a scale
  int head, head_end, head_size;  // bytes in numbers of another size
  int has_minimum;
} grouping;

// y (depth): one row of the weight.
static WIDE void unpack_grouped(float *y, weight w, long row, long depth, grouping g,
                                void (*unpack)(float *, const unsigned char *)) {
  const unsigned char *p = (const unsigned char *)w.data + row / 16 * 16 * depth / g.weights * g.bytes;
  for (float *end = y + depth; y < end; y += g.weights, p += 16 * g.bytes) {
    unsigned char block[g.bytes];
    for (int at = 0, size; at < g.bytes; at += size) {
      size = at >= g.head && at < g.head_end ? g.head_size : 4;
      for (int i = 0; i < size; i++) block[at + i] = p[16 * at + row % 16 * size + i];
    }
    unpack(y, block);
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
#define UNPACK_GROUPED(name, ...) \
  case name##_grouped: \
    unpack_grouped(y, w, row, depth, (grouping){__VA_ARGS__}, unpack_##name); \
    return;
    GROUPED(UNPACK_GROUPED)
  case FIRST_GROUPED: return;
  }
}

// out (count, depth): the rows of w that `ids` name; zeros for an id that is not in 0 .. rows - 1.
static WIDE void lookup(float *out, const int *ids, long count, weight w, long rows, long depth) {
  for (long i = 0; i < count; i++)
    if (ids[i] >= 0 && ids[i] < rows) unpack_row(out + i * depth, w, ids[i], depth);
    else
      for (long k = 0; k < depth; k++) out[i * depth + k] = 0;
}
