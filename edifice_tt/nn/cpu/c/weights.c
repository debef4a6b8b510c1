// Weights as they are stored: rows of floats, or of blocks as GGUF files hold them, or for products
// in whole numbers 16 rows at a time.
//
// Made from `nn/formats` and put before this room, of the formats that a kernel reads: `kind`, which is
// F32, then each format, then each that is grouped, then each as halves; and
//   FORMATS(f): f(NAME, bytes of a block, weights of a block) for each format, which is one of
//   NUMBERS(f): the same for those that are nothing but numbers, with SIXTEEN_NAME;
//   WHOLE_NUMBERS(f): f(NAME, as `grouping`) for those whose weights are whole numbers, with
//   NUMBER_NAME, SCALE_NAME and MINIMUM_NAME;
//   FIVES(f): the same for those of five bits;
//   NIBBLES(f): the same for those whose four bits, INDEX_NAME, choose one of VALUES_NAME;
//   GROUPED(f): f(NAME, as `grouping`) for each grouped;
//   AS_HALVES(f): as FORMATS, for each of which `halves.c` takes the products, and HAS_HALVES.
//
// All but the values read the 16 weights number `s` of a block. Here they read a block of one row,
// from p on; there is a number for each of 16 weights, and where scales are read `s` are the first of
// each run of weights that share one. In `int8.c` they read a group of 16 rows.

#define CONVERT(x) FLOATS(x)        // whole numbers as floats
#define AS_FLOATS(x) ((floats)(x))  // the floats that have these bits
#define HALF_AT(at) half_at(p, at)  // the float of 16 bits from byte `at` on
#define BYTE(at) ((words)(unsigned)p[at]) // one byte, two, four
#define SHORT(at) ((words)(unsigned)*(const unsigned short *)(p + (at)))
#define WORD(at) ((words)*(const unaligned *)(p + (at)))
#define SIGNED(at) FLOATS(*(const signed_octets *)(p + (at))) // of signed bytes that number `s`
#define BYTES(at) (*(const octets *)(p + (at))) // a byte for each weight
#define BITS(at) bits_of(p + (at) + 2 * s)      // a bit for each weight; of all bits those number `s`
#define SHIFTED(x, by) ((by) < 0 ? (x) >> -(by) : (x) << (by)) // bytes
#define CHOSEN(index, ...) chosen((octets)(signed_octets){__VA_ARGS__}, index) // from 16 bytes

typedef unsigned unaligned __attribute__((aligned(1)));
typedef float four_floats __attribute__((ext_vector_type(4)));

// Of a block, which is at least 8 bytes.
static inline WIDE float half_at(const unsigned char *p, int at) {
#if defined(__F16C__)
  // Read as four, since clang makes a single one wait for whatever a register held before.
  four_floats four;
  int first = at < 6 ? at : at - 6;
  __asm__("vcvtph2ps %1, %0" : "=v"(four) : "m"(*(const char(*)[8])(p + first)));
  return four[(at - first) / 2];
#else
  return *(const _Float16 *)(p + at);
#endif
}

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

// What the runs of a block share. In memory, since from there a vector is filled with one at once.
typedef struct {
  _Alignas(LINE) float d[16], m[16];
} scales;

#define LANES(count) \
  typedef float floats __attribute__((ext_vector_type(count), aligned(4))); \
  typedef unsigned words __attribute__((ext_vector_type(count), aligned(4)))

// read_NAME: the scales of a block, and the minima if it has some, in as many lanes as it has runs.
#define READ_SCALES(name, bytes, weights, bits, offset, run, head, end, size, has_minimum) \
  static inline WIDE void read_##name(scales *to, const unsigned char *p) { \
    LANES(MAX(4, weights / run)); \
    static const unsigned numbers[] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}; \
    const words s = *(const words *)numbers * (run / 16); \
    (void)s; \
    *(floats *)to->d = SCALE_##name; \
    if (has_minimum) *(floats *)to->m = MINIMUM_##name; \
    if (weights > run) __asm__("" : "+m"(*to)); /* or they would stay in vectors */ \
  }
WHOLE_NUMBERS(READ_SCALES)
FIVES(READ_SCALES)
NIBBLES(READ_SCALES)

#define SIXTEEN_OF(name) \
  static inline __attribute__((always_inline)) WIDE floats \
  sixteen_##name(const unsigned char *p, const scales *of, int s)

// sixteen_NAME: the 16 weights number `s` of a block, whose scales have been read.
#define SIXTEEN(name, bytes, weights, bits, offset, run, head, end, size, has_minimum) \
  SIXTEEN_OF(name) { \
    int by = s / (run / 16); \
    octets q = NUMBER_##name; \
    floats f = bits == 8 || offset ? FLOATS((signed_octets)(q - offset)) : FLOATS(q); \
    return f * of->d[by] + (has_minimum ? of->m[by] : 0); \
  }
WHOLE_NUMBERS(SIXTEEN)

#if defined(__AVX512F__)
// An instruction chooses by the lowest bits of a lane from all that the weights of a run can be.
#define SIXTEEN_NIBBLES(name, bytes, weights, bits, offset, run, head, end, size, has_minimum) \
  SIXTEEN_OF(name) { \
    int by = s / (run / 16); \
    floats all = (floats){VALUES_##name} * of->d[by] + (has_minimum ? of->m[by] : 0); \
    return __builtin_ia32_permvarsf512(all, INDEX_##name); \
  }
#define SIXTEEN_FIVES(name, bytes, weights, bits, offset, run, head, end, size, has_minimum) \
  SIXTEEN_OF(name) { \
    int by = s / (run / 16); \
    floats few = FLOATS(LANE_NUMBERS) - offset, more = few + 16, m = has_minimum ? of->m[by] : 0; \
    few = few * of->d[by] + m, more = more * of->d[by] + m; \
    return __builtin_ia32_vpermi2varps512(few, NUMBER_##name, more); \
  }
#define LANE_NUMBERS ((words){0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15})
#undef BYTES
#undef BITS
#define BYTES(at) __builtin_convertvector(*(const octets *)(p + (at)), words)
// Of four bytes the middle two are read: so all lanes shift to the right.
#define BITS(at) ((words)*(const unaligned *)(p + (at) + 2 * s - 1) >> (LANE_NUMBERS + 8) & 1)
NIBBLES(SIXTEEN_NIBBLES)
FIVES(SIXTEEN_FIVES)
#undef BYTES
#undef BITS
#define BYTES(at) (*(const octets *)(p + (at)))
#define BITS(at) bits_of(p + (at) + 2 * s)
#else
NIBBLES(SIXTEEN)
FIVES(SIXTEEN)
#endif

#define SIXTEEN_NUMBERS(name, ...) \
  static inline void read_##name(scales *to, const unsigned char *p) {} \
  SIXTEEN_OF(name) { return SIXTEEN_##name; }
NUMBERS(SIXTEEN_NUMBERS)

// unpack_NAME: y = the weights of a block.
#define UNPACK_BLOCK(name, bytes, weights) \
  static inline WIDE void unpack_##name(float *y, const unsigned char *p) { \
    scales of; \
    read_##name(&of, p); \
    UNROLL for (int s = 0; s < weights / 16; s++) ((floats *)y)[s] = sixteen_##name(p, &of, s); \
  }
FORMATS(UNPACK_BLOCK)

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
#define BFLOATS_SIZE(name, bytes, weights, ...) [name##_as_bfloats] = {bytes, weights},
#define HALVES_SIZE(name, bytes, weights) [name##_as_halves] = {bytes, weights},
static const block_size block_of[] = {[F32] = {4, 1}, FORMATS(SIZE) GROUPED(GROUPED_SIZE)
                                      AS_BFLOATS(BFLOATS_SIZE) AS_HALVES(HALVES_SIZE)};

typedef struct {
  long first, end; // tiles are the same for every range that begins with a multiple of 16
} range;

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

// y: some of a row of floats, which are copied, or of blocks, which are unpacked; of grouped ones all.
static WIDE void unpack_some(float *y, weight w, long row, long depth, range some) {
  block_size block = block_of[w.kind];
  const unsigned char *q = row_of(w, row, depth) + some.first / block.weights * block.bytes;
  float *end = y + some.end - some.first;
  switch (w.kind) {
  case F32:
    for (long k = 0; y + k < end; k++) y[k] = ((const float *)q)[k];
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
#define UNPACK_BFLOATS(name, ...) \
  case name##_as_bfloats: \
    unpack_grouped(y, w, row, depth, (grouping){__VA_ARGS__}, unpack_##name); \
    return;
    AS_BFLOATS(UNPACK_BFLOATS)
#define UNPACK_ALIKE(name, bytes, weights) \
  case name##_as_halves: \
    for (; y < end; y += weights, q += bytes) unpack_##name(y, q); \
    return;
    AS_HALVES(UNPACK_ALIKE)
  case FIRST_GROUPED:
  case FIRST_AS_BFLOATS:
  case FIRST_AS_HALVES: return;
  }
}

static WIDE void unpack_row(float *y, weight w, long row, long depth) {
  unpack_some(y, w, row, depth, (range){0, depth});
}

// out (count, depth): the rows of w that `ids` name; zeros for an id that is not in 0 .. rows - 1.
static WIDE void lookup(float *out, const int *ids, long count, weight w, long rows, long depth) {
  for (long i = 0; i < count; i++)
    if (ids[i] >= 0 && ids[i] < rows) unpack_row(out + i * depth, w, ids[i], depth);
    else
      for (long k = 0; k < depth; k++) out[i * depth + k] = 0;
}
