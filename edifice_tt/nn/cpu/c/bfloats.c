// Products in bfloat16 by Intel's matrix unit (AMX): activations and weights are rounded to 8 bits, and
// the unit sums their products in float32, 32 of depth at a time.
//
// In which order it does is its own matter, and the same for every row; so a row is the same bits alone
// and in any batch.
#if HAS_BFLOATS && AMX_ALLOWED && defined(__AMX_BF16__) && defined(__AVX512FP16__) && WIDTH == 16
#define BY_BFLOATS 1
#define BFLOAT_DEPTH 256 // of weights that are unpacked at a time, so that they stay nearest

typedef __bf16 bfloats __attribute__((ext_vector_type(16), aligned(2)));
typedef short shorts_32 __attribute__((ext_vector_type(32), aligned(64)));
typedef unsigned short words_32 __attribute__((ext_vector_type(32), aligned(64)));
typedef _Float16 halves_32 __attribute__((ext_vector_type(32), aligned(64)));
typedef struct { // a register of the unit: 32 numbers of 16 rows, or 16 pairs of each of 16 columns
  unsigned short of[16][32];
} bfloat_tile;
#define OFF(g) ((g).offset + ((g).bits == 8 ? OFFSET : 0)) // what is taken off a number as it is read
typedef bfloat_tile bfloat_panel[BFLOAT_DEPTH / 32]; // weights of 16 columns

// to (rows / 16, depth / 32): some rows of x (rows, depth), or of those that `at` lists, rounded. Of
// each four numbers the second and the third are exchanged, as `unpack_bfloats` does.
static WIDE void round_to_bfloats(bfloat_tile *to, const float *x, const int *at, range some, long depth) {
  for (long m = some.first; m < some.end; m++) {
    const float *from = x + (at ? at[m] : m) * depth;
    bfloat_tile *t = to + m / 16 * (depth / 32);
    for (long k = 0; k < depth; k += 16) {
      bfloats y = __builtin_convertvector(LOAD(from + k), bfloats);
      *(bfloats *)(t[k / 32].of[m % 16] + k % 32) =
          __builtin_shufflevector(y, y, 0, 2, 1, 3, 4, 6, 5, 7, 8, 10, 9, 11, 12, 14, 13, 15);
    }
  }
}

// The scale of 16 columns, and what zero stands for, in float16, each twice: as multiples of a power of
// two near the larger, so that all weights are normal numbers; and what that adds to bits of a bfloat16.
typedef struct {
  halves_32 scale, least;
  words_32 power;
} bfloat_scales;

#define TWICE(x) \
  __builtin_shufflevector(x, x, 0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8, 8, 9, 9, 10, 10, 11, \
                          11, 12, 12, 13, 13, 14, 14, 15, 15)

static inline __attribute__((always_inline)) WIDE bfloat_scales scales_of_bfloats(const sixteen *w,
                                                                                  grouping g) {
  vec scale = w->scale, small = w->minimum / 64, least = w->minimum - OFF(g) * scale;
  ivec size = (ivec)scale & 0x7fffffff, other = (ivec)small & 0x7fffffff;
  if (g.has_minimum) size = __builtin_elementwise_max(size, other);
  ivec exponent = __builtin_elementwise_min(__builtin_elementwise_max(size >> 23, (ivec)32), (ivec)239);
  vec down = (vec)((254 - exponent) << 23);
  shorts power = __builtin_convertvector((exponent - 111) << 7, shorts);
  halves s = __builtin_convertvector(scale * down, halves), l = __builtin_convertvector(least * down, halves);
  return (bfloat_scales){TWICE(s), TWICE(l), TWICE(power)};
}

// Whole numbers, scaled and rounded twice: to float16 and to bfloat16, ties away from zero. With the
// exponent of float16 the bits of both differ in their places, and by a power of two.
static inline __attribute__((always_inline)) WIDE words_32 scaled_bfloats(words_32 q, const bfloat_scales *by,
                                                                          grouping g) {
  halves_32 y = __builtin_convertvector(q, halves_32);
  y = g.has_minimum || OFF(g) ? y * by->scale + by->least : y * by->scale;
  shorts_32 rounded = __builtin_ia32_pmulhrsw512(*(shorts_32 *)&y, (shorts_32)4096); // 3 bits less
  return (((words_32)rounded & 0x8fff) | 96 << 7) + by->power;
}

// to: some depth of a group's 16 columns.
static inline __attribute__((always_inline)) WIDE void
unpack_bfloats(bfloat_tile *to, const unsigned char *p, long some, kind kind, grouping g) {
  for (long k = 0; k < some; k += g.weights, p += 16 * g.bytes) {
    bfloat_scales by;
    fetch_far(p, 16 * g.bytes);
    UNROLL for (int s = 0; s < g.weights / 16; s++) {
      sixteen w = read_sixteen(p, 0, s, kind);
      if (g.run == 16 || s % 2 == 0) by = scales_of_bfloats(&w, g);
      words_32 *rows = (words_32 *)to[(k + 16 * s) / 32].of[s % 2 * 8];
      UNROLL for (int j = 0; j < 4; j++) {
        words_32 q = (words_32)w.q[j];
        rows[2 * j] = scaled_bfloats(q & 255, &by, g);
        rows[2 * j + 1] = scaled_bfloats(q >> 8, &by, g);
      }
    }
  }
}

// Registers 0 .. 3: sums; 4: rows; 6, 7: columns. Of fewer than 16 rows only these are made.
static inline void enter_bfloats(long rows) {
  tile_sizes sizes = {.palette = 1};
  for (int i = 0; i < 8; i++) sizes.bytes[i] = 64, sizes.rows[i] = i < 6 ? MIN(16, rows) : 16;
  __builtin_ia32_tile_loadconfig(&sizes);
}

// sums: what some of depth adds to the products of 16 rows with up to 4 groups of columns, or what it
// makes if they are new.
static inline __attribute__((always_inline)) WIDE void
add_bfloats(float (*sums)[16][16], const bfloat_tile *x, bfloat_panel *w, long blocks, int new, int groups) {
#define EACH_GROUP(f) \
  f(0, 6) \
  if (groups > 1) { f(1, 7) } \
  if (groups > 2) { f(2, 6) } \
  if (groups > 3) { f(3, 7) }
#define TAKE_SUM(j, by) \
  if (new) __builtin_ia32_tilezero(j); \
  else __builtin_ia32_tileloadd64(j, sums[j], 64);
#define ADD_TO_SUM(j, by) \
  __builtin_ia32_tileloadd64(by, w[j] + b, 64); \
  __builtin_ia32_tdpbf16ps(j, 4, by);
#define KEEP_SUM(j, by) __builtin_ia32_tilestored64(j, sums[j], 64);
  EACH_GROUP(TAKE_SUM)
  for (long b = 0; b < blocks; b++) {
    __builtin_ia32_tileloadd64(4, x + b, 64);
    EACH_GROUP(ADD_TO_SUM)
  }
  EACH_GROUP(KEEP_SUM)
}

// out (rows, columns) = x W^T, as `product`; x are rows that `round_to_bfloats` was given with the same
// `at`. At most GROUP rows.
static inline __attribute__((always_inline)) WIDE void
bfloat_product_of(float *out, const bfloat_tile *x, const int *at, long rows, const unsigned char *data,
                  long columns, range some, long depth, int add, kind kind, grouping g) {
  long bytes = depth / g.weights * 16 * g.bytes;
  enter_bfloats(rows);
  for (long n = some.first; n < some.end; n += 64) {
    _Alignas(LINE) bfloat_panel panel[4];
    _Alignas(LINE) float sums[(GROUP + 15) / 16][4][16][16];
    int groups = MIN(4, (some.end - n + 15) / 16);
    for (long k = 0, now; k < depth; k += now) {
      now = MIN(BFLOAT_DEPTH, depth - k);
      for (int j = 0; j < groups; j++)
        unpack_bfloats(panel[j], data + (n / 16 + j) * bytes + k / g.weights * 16 * g.bytes, now, kind, g);
      for (long m = 0; m < rows; m += 16) {
        const bfloat_tile *from = x + (m / 16 * depth + k) / 32;
#define ADD_GROUPS(count) \
  case count: add_bfloats(sums[m / 16], from, panel, now / 32, k == 0, count); break;
        switch (groups) { ADD_GROUPS(1) ADD_GROUPS(2) ADD_GROUPS(3) ADD_GROUPS(4) }
      }
    }
    for (long m = 0; m < rows; m++)
      for (int j = 0; j < groups; j++) {
        long there = MIN(16, some.end - n - 16 * j);
        float *to = out + (at ? at[m] : m) * columns + n + 16 * j;
        vec y = *(vec *)sums[m / 16][j][m % 16];
        store(to, add ? load(to, there) + y : y, there);
      }
  }
  leave_amx();
}

static WIDE void product_bfloats(float *out, const void *x, const int *at, long rows, weight w,
                                 long columns, range some, long depth, int add) {
  switch (w.kind) {
#define BFLOAT_PRODUCT(name, ...) \
  case name##_as_bfloats: \
    bfloat_product_of(out, x, at, rows, w.data, columns, some, depth, add, name##_grouped, \
                      (grouping){__VA_ARGS__}); \
    break;
    AS_BFLOATS(BFLOAT_PRODUCT)
  default: break;
  }
  for (long i = 0; i < rows && w.bias; i++)
    for (long n = some.first; n < some.end; n++) out[(at ? at[i] : i) * columns + n] += w.bias[n];
}
#elif HAS_BFLOATS
#error "products in bfloat16 need Intel's AMX"
#endif
