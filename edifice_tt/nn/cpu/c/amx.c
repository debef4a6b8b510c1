// Rows 16 at a time by Intel's matrix unit (AMX), where AMX_ALLOWED says that the process may use it.
//
// The unit makes 16 x 16 sums of 32 products, or of 16 that have a scale of their own. The sums are whole
// numbers, and what is done with them is what `whole_tile` does; so the bits are the same.

#if AMX_ALLOWED && defined(__AMX_INT8__) && WIDTH == 16
#define AMX_ROWS 16
// Weights of a column that are unpacked at a time, so that they stay nearest; the last are fewer than twice
// as many, since short sums do not overlap.
#define STRETCH_OF_DEPTH 512

// 32 weights of 16 columns as the unit reads them: signed numbers, 4 of each column in turn. `scales` of
// both halves, if each has its own, then minima, if there are any; no room is left for others.
typedef struct {
  quads q[8];
  vec scales[4];
} signed_block;
_Static_assert(sizeof(signed_block) <= MOST_COLUMNS * 32 * 4, "room for 32 numbers of 16 columns");

static inline const signed_block *nth_block(const void *panel, long n, grouping g) {
  long size = 64 * (8 + 32 / g.run * (g.has_minimum ? 2 : 1));
  return (const signed_block *)((const char *)panel + n * size);
}

static inline __attribute__((always_inline)) WIDE void
unpack_signed(void *panel, const unsigned char *p, long depth, kind kind, grouping g) {
  for (long n = 0; n < depth / 32; p += 16 * g.bytes)
    UNROLL for (int b = 0; b < g.weights / 32; b++, n++) {
      signed_block *to = (signed_block *)nth_block(panel, n, g);
      UNROLL for (int half = 0; half < 2; half++) {
        sixteen of = read_sixteen(p, 0, 2 * b + half, kind);
        UNROLL for (int j = 0; j < 4; j++)
          to->q[4 * half + j] = g.bits == 8 ? of.q[j] ^ OFFSET : of.q[j] - (unsigned char)g.offset;
        if (half && g.run == 32) continue;
        to->scales[half] = of.scale;
        if (g.has_minimum) to->scales[32 / g.run + half] = of.minimum;
      }
    }
}

// Registers 0 .. 3: sums; 4, 5: activations; 6, 7: weights.
typedef struct {
  unsigned char palette, start, unused[14];
  unsigned short bytes[16]; // of a row
  unsigned char rows[16];
} tile_sizes;

// The registers are this thread's until `leave_amx`; then the system need not save them any more.
static inline void enter_amx(int run) {
  tile_sizes sizes = {.palette = 1,
                      .bytes = {64, 64, 64, 64, run, run, 64, 64},
                      .rows = {16, 16, 16, 16, 16, 16, run / 4, run / 4}};
  __builtin_ia32_tile_loadconfig(&sizes);
}

static inline void leave_amx(void) { __builtin_ia32_tilerelease(); }

// Begin the sums of a block, or of its halves where these have scales of their own; and fetch them.
#define BEGIN_SUMS(whole, half, of, n) \
  __builtin_ia32_tilezero(whole); \
  __builtin_ia32_tileloadd64(4, (of)->x, sizeof(rounded)); \
  __builtin_ia32_tileloadd64(6, nth_block(panel, n, g)->q, 64); \
  __builtin_ia32_tdpbssd(whole, 4, 6); \
  if (g.run == 16) { \
    __builtin_ia32_tilezero(half); \
    __builtin_ia32_tileloadd64(5, (of)->x + 16, sizeof(rounded)); \
    __builtin_ia32_tileloadd64(7, nth_block(panel, n, g)->q + 4, 64); \
    __builtin_ia32_tdpbssd(half, 5, 7); \
  }
#define FETCH_SUMS(whole, half, s) \
  __builtin_ia32_tilestored64(whole, s[0], 64); \
  if (g.run == 16) __builtin_ia32_tilestored64(half, s[1], 64)

// a += a block's sums s, scaled.
static inline __attribute__((always_inline)) WIDE void
add_scaled(vec *a, ivec (*s)[16], const rounded *x, const signed_block *w, grouping g) {
  UNROLL for (int i = 0; i < AMX_ROWS; i++) {
    vec y;
    UNROLL for (int half = 0; half < 32 / g.run; half++) {
      vec all = CONVERT(s[half][i]), scale = w->scales[half];
      float sum = x[i].sum[g.run == 16 ? half : 2];
      all = g.has_minimum ? all * scale + w->scales[32 / g.run + half] * sum : all * scale;
      y = half ? y + all : all;
    }
    a[i] += y * x[i].scale;
  }
}

// to[i] += x[i] . w for 16 rows, or = if they are new. Sums take long: while those of a block are scaled,
// those of the next two are made.
//
// Measured on Emerald Rapids, vector instructions run at half their rate while any of the unit's are under
// way, and scaling is most of the work. Eight blocks by turns, rows laid out as tiles, and sums that begin
// at 1.5 * 2^23, which spares converting them, gained next to nothing.
static inline __attribute__((always_inline)) WIDE void
amx_tile(vec *to, const rounded *x, long stride, const void *panel, long depth, grouping g, int new,
         ahead *next) {
  _Alignas(LINE) ivec s[2][2][16];
  long blocks = depth / 32;
  vec a[AMX_ROWS];
  UNROLL for (int i = 0; i < AMX_ROWS; i++) a[i] = new ? (vec)0.0f : to[i];
  BEGIN_SUMS(0, 1, x, 0)
  if (blocks > 1) { BEGIN_SUMS(2, 3, x + stride, 1) }
  for (long b = 0; b <= blocks; b += 2, x += 2 * stride) {
    if (b % 8 == 0 && b < blocks) fetch_share(next);
    if (b < blocks) { FETCH_SUMS(0, 1, s[0]); }
    if (b + 2 < blocks) { BEGIN_SUMS(0, 1, x + 2 * stride, b + 2) }
    if (b) add_scaled(a, s[1], x - stride, nth_block(panel, b - 1, g), g);
    if (b + 1 < blocks) { FETCH_SUMS(2, 3, s[1]); }
    if (b + 3 < blocks) { BEGIN_SUMS(2, 3, x + 3 * stride, b + 3) }
    if (b < blocks) add_scaled(a, s[0], x, nth_block(panel, b, g), g);
  }
  UNROLL for (int i = 0; i < AMX_ROWS; i++) to[i] = a[i];
}

// a (rows, 16) = the products of rows with a group of columns.
static inline __attribute__((always_inline)) WIDE void
group_by_unit(vec *a, const rounded *x, long stride, long rows, const unsigned char *group, long depth,
              void *panel, kind kind, grouping g, ahead *next) {
  for (long k = 0, some; k < depth; k += some) {
    some = depth - k < 2 * STRETCH_OF_DEPTH ? depth - k : STRETCH_OF_DEPTH;
    unpack_signed(panel, group + k / g.weights * 16 * g.bytes, some, kind, g);
    for (long m = 0; m < rows; m += AMX_ROWS)
      amx_tile(a + m, x + m + k / 32 * stride, stride, panel, some, g, k == 0, next);
  }
}
#else
#define AMX_ROWS 0
#endif
