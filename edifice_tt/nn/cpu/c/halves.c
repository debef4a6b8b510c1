// Products in float16, for processors that compute in it: activations and weights are rounded to 11
// bits; each lane sums a run of 32 products, what lanes hold of a column is added up to a few, and
// these are added in float32.
//
// A row of activations is first brought below 2 by a power of two, which is exact. So no sum of a run
// overflows, as long as no weight is above 64; the loader sees to that. The order of the sums is the
// same for any number of rows: a row is the same bits alone and in any batch.
#if HAS_HALVES

#define LANES_OF_HALVES (2 * WIDTH)
#define RUN (32 * LANES_OF_HALVES) // of depth; a multiple of any block
#define HALVES_GAP (2 * GAP)       // halves between two rows; the first two are a row's scale

typedef _Float16 half;
typedef half half_vec __attribute__((ext_vector_type(LANES_OF_HALVES), aligned(2)));
typedef unsigned char thirty_two_octets __attribute__((ext_vector_type(32), aligned(1)));
typedef half thirty_two __attribute__((ext_vector_type(32), aligned(2)));
#define LOAD_HALVES(p) (*(const half_vec *)(p))

// to (rows, depth + HALVES_GAP): some rows of x (rows, depth), or of those that `at` lists, as halves,
// the largest of 1 .. 2, and behind each what undoes that.
static WIDE void narrow_rows(half *to, const float *x, const int *at, range some, long depth) {
  to += some.first * (depth + HALVES_GAP);
  for (long m = some.first; m < some.end; m++, to += depth + HALVES_GAP) {
    const float *from = x + (at ? at[m] : m) * depth;
    ivec most = 0; // floats without their sign are ordered as integers; NaN is the top
    for (long k = 0; k < depth; k += WIDTH)
      most = __builtin_elementwise_max(most, *(const ivec *)(from + k) & 0x7fffffff);
    // The exponent of the largest, as floats store it. Both scales stay normal numbers.
    int exponent = MIN(MAX(1, __builtin_reduce_max(most) >> 23), 253);
    int up = (254 - exponent) << 23, down = exponent << 23;
    float scale;
    __builtin_memcpy(&scale, &up, sizeof scale);
    for (long k = 0; k < depth; k += 16)
      *(shorts *)(to + k) = halves_of(*(const floats *)(from + k) * scale);
    __builtin_memcpy(to + depth, &down, sizeof down);
  }
}

static inline WIDE float scale_of(const half *row, long depth) {
  float scale;
  __builtin_memcpy(&scale, row + depth, sizeof scale);
  return scale;
}

// Neighbours of one, two and four halves, of the lower half of each eight lanes, and of the upper:
// of a and b in turn.
#if WIDTH == 16
#define EIGHTS(f) f(0), f(8), f(16), f(24)
#else
#define EIGHTS(f) f(0)
#endif
#define IN_TURN(i) i, i + L, i + 1, i + 1 + L, i + 2, i + 2 + L, i + 3, i + 3 + L
#define TWO_IN_TURN(i) i, i + 1, i + L, i + 1 + L, i + 2, i + 3, i + 2 + L, i + 3 + L
#define FOUR_IN_TURN(i) i, i + 1, i + 2, i + 3, i + L, i + 1 + L, i + 2 + L, i + 3 + L
#define UPPER_IN_TURN(i) IN_TURN(i + 4)
#define UPPER_TWO_IN_TURN(i) TWO_IN_TURN(i + 4)
#define UPPER_FOUR_IN_TURN(i) FOUR_IN_TURN(i + 4)
#define ADD_HALVES(a, b, of) \
  (__builtin_shufflevector(a, b, EIGHTS(of)) + __builtin_shufflevector(a, b, EIGHTS(UPPER_##of)))

// The sums of a run, of each column some: lane j, and each TILE_COLUMNS later, is of column j.
static inline __attribute__((always_inline)) WIDE vec fold(const half_vec *a) {
  enum { L = LANES_OF_HALVES };
  half_vec four[TILE_COLUMNS / 4], all;
  UNROLL for (int j = 0; j < TILE_COLUMNS / 4; j++) {
    const half_vec *of = a + 4 * j;
    half_vec left = ADD_HALVES(of[0], of[1], IN_TURN), right = ADD_HALVES(of[2], of[3], IN_TURN);
    four[j] = ADD_HALVES(left, right, TWO_IN_TURN);
  }
#if TILE_COLUMNS == 8
  all = ADD_HALVES(four[0], four[1], FOUR_IN_TURN);
#else
  all = four[0];
#endif
  return __builtin_convertvector(all.lo, vec) + __builtin_convertvector(all.hi, vec);
}

static inline WIDE tile_row folded(vec all) {
#if WIDTH == 2 * TILE_COLUMNS
  return all.lo + all.hi;
#else
  return all;
#endif
}

// As `tile_of`, of halves; y is not scaled yet.
static inline __attribute__((always_inline)) WIDE void
tile_of_halves(tile_row *y, const half *const *x, const half *const *w, long depth, int rows) {
  vec all[TILE_ROWS];
  UNROLL for (int i = 0; i < rows; i++) all[i] = 0;
  for (long first = 0; first < depth; first += RUN) {
    half_vec a[TILE_ROWS][TILE_COLUMNS];
    UNROLL for (int i = 0; i < rows; i++)
      UNROLL for (int j = 0; j < TILE_COLUMNS; j++) a[i][j] = 0;
    for (long k = first, end = MIN(first + RUN, depth); k < end; k += LANES_OF_HALVES) {
      half_vec xk[TILE_ROWS];
      UNROLL for (int i = 0; i < rows; i++) xk[i] = LOAD_HALVES(x[i] + k);
      UNROLL for (int j = 0; j < TILE_COLUMNS; j++) {
        half_vec v = LOAD_HALVES(w[j] + k);
        UNROLL for (int i = 0; i < rows; i++) a[i][j] += xk[i] * v;
      }
    }
    UNROLL for (int i = 0; i < rows; i++) all[i] += fold(a[i]);
  }
  UNROLL for (int i = 0; i < rows; i++) y[i] = folded(all[i]);
}

static inline __attribute__((always_inline)) WIDE thirty_two both(floats a, floats b) {
  return __builtin_shufflevector(__builtin_convertvector(a, halves), __builtin_convertvector(b, halves),
                                 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19,
                                 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31);
}

#define THIRTY_TWO_OF(name) \
  static inline __attribute__((always_inline)) WIDE thirty_two \
  thirty_two_##name(const unsigned char *p, const scales *of, int s)

// thirty_two_NAME: the 16 weights number `s` of a block and the next, rounded.
#define THIRTY_TWO(name, ...) \
  THIRTY_TWO_OF(name) { return both(sixteen_##name(p, of, s), sixteen_##name(p, of, s + 1)); }
HALVES_OF_NUMBERS(THIRTY_TWO)

#if defined(__AVX512FP16__)
typedef short thirty_two_shorts __attribute__((ext_vector_type(32), aligned(2)));

static inline WIDE thirty_two chosen_halves(halves table, octets a, octets b) {
  octets of[] = {a, b};
  thirty_two_shorts index = __builtin_convertvector(*(const thirty_two_octets *)of, thirty_two_shorts);
  // The upper half of what is chosen from can be anything: no index reaches it.
  thirty_two from = __builtin_shufflevector(table, table, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13,
                                            14, 15, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1,
                                            -1, -1, -1);
  index = __builtin_ia32_permvarhi512(*(thirty_two_shorts *)&from, index);
  return *(thirty_two *)&index;
}

// As in `weights.c`: all 16 that the weights of a run can be, rounded before they are chosen from.
#define THIRTY_TWO_NIBBLES(name, bytes, weights, bits, offset, run, head, end, size, has_minimum) \
  static inline WIDE octets index_##name(const unsigned char *p, int s) { return INDEX_##name; } \
  THIRTY_TWO_OF(name) { \
    _Static_assert(run == 32, "one scale"); \
    floats all = (floats){VALUES_##name} * of->d[s / 2] + (has_minimum ? of->m[s / 2] : 0); \
    return chosen_halves(__builtin_convertvector(all, halves), index_##name(p, s), \
                         index_##name(p, s + 1)); \
  }
HALVES_OF_NIBBLES(THIRTY_TWO_NIBBLES)
#else
HALVES_OF_NIBBLES(THIRTY_TWO)
#endif

// to[j] = the products of one row of x with column j in blocks, summed as `tile_of_halves` does within a
// run; they are unpacked on the way, as by `times_NAME`.
#define TIMES_HALVES(name, bytes, weights) \
  static __attribute__((noinline)) WIDE void halves_times_##name( \
      half_vec *to, const half *x, const unsigned char *const *rows, long depth) { \
    enum { few = weights > 32 ? 2 : 1 }; \
    half_vec a[SOME] = {0}; \
    for (long b = 0, end; b < depth / weights; b = end) { \
      scales of[SOME][few]; \
      end = MIN(b + few, depth / weights); \
      UNROLL for (int j = 0; j < SOME; j++) { \
        fetch_far(rows[j] + b * bytes, (end - b) * bytes); \
        for (long i = b; i < end; i++) read_##name(&of[j][i - b], rows[j] + i * bytes); \
      } \
      for (long i = b; i < end; i++) \
        UNROLL for (int s = 0; s < weights / 16; s += 2) \
          UNROLL for (int j = 0; j < SOME; j++) { \
            thirty_two y = thirty_two_##name(rows[j] + i * bytes, &of[j][i - b], s); \
            UNROLL for (int k = 0; k < 32; k += LANES_OF_HALVES) \
              a[j] += LOAD_HALVES(x + i * weights + 16 * s + k) * LOAD_HALVES((half *)&y + k); \
          } \
    } \
    UNROLL for (int j = 0; j < SOME; j++) to[j] = a[j]; \
  }
AS_HALVES(TIMES_HALVES)

static WIDE tile_row halves_of_blocks(const half *x, weight w, long first, long last, long depth) {
  block_size block = block_of[w.kind];
  const unsigned char *rows[TILE_COLUMNS];
  vec all = 0;
  for (int j = 0; j < TILE_COLUMNS; j++) rows[j] = row_of(w, MIN(first + j, last), depth);
  for (long k = 0; k < depth; k += RUN) {
    long run = MIN(RUN, depth - k);
    half_vec a[TILE_COLUMNS];
    for (int j = 0; j < TILE_COLUMNS; j += SOME) switch (w.kind) {
#define TIMES_AS_HALVES(name, ...) \
    case name##_as_halves: halves_times_##name(a + j, x + k, rows + j, run); break;
      AS_HALVES(TIMES_AS_HALVES)
      default: break;
      }
    for (int j = 0; j < TILE_COLUMNS; j++) rows[j] += run / block.weights * block.bytes;
    all += fold(a);
  }
  return folded(all);
}

// y (depth): one row of the weight, rounded.
static WIDE void unpack_halves(half *y, weight w, long row, long depth) {
  const unsigned char *q = row_of(w, row, depth);
  half *end = y + depth;
  switch (w.kind) {
#define UNPACK_AS_HALVES(name, bytes, weights) \
  case name##_as_halves: \
    for (; y < end; y += weights, q += bytes) { \
      scales of; \
      read_##name(&of, q); \
      UNROLL for (int s = 0; s < weights / 16; s += 2) \
        *(thirty_two *)(y + 16 * s) = thirty_two_##name(q, &of, s); \
    } \
    break;
    AS_HALVES(UNPACK_AS_HALVES)
  default: break;
  }
}

// The largest magnitude of a weight, by its blocks.
static WIDE float largest(weight w, long blocks) {
  const unsigned char *q = w.data;
  words most = 0; // as in `narrow_rows`
  switch (w.kind) {
#define LARGEST(name, bytes, weights) \
  case name##_as_halves: \
    for (long b = 0; b < blocks; b++, q += bytes) { \
      _Alignas(LINE) float y[weights]; \
      unpack_##name(y, q); \
      for (long k = 0; k < weights; k += 16) \
        most = __builtin_elementwise_max(most, *(words *)(y + k) & 0x7fffffff); \
    } \
    break;
    AS_HALVES(LARGEST)
  default: break;
  }
  unsigned bits = __builtin_reduce_max(most);
  return *(float *)&bits;
}

// out (rows, columns) = x W^T + b, as `product`; x are rows that `narrow_rows` was given with the
// same `at`. At most GROUP rows.
static WIDE void product_halves(float *out, const half *x, const int *at, long rows, weight w,
                                long columns, range some, long depth, float *panel, int add) {
  long apart = depth + HALVES_GAP;
  const half *from[GROUP + TILE_ROWS];
  for (long m = 0; m < rows + TILE_ROWS; m++) from[m] = x + MIN(m, rows - 1) * apart;
  for (long n = some.first; n < some.end; n += TILE_COLUMNS) {
    const half *wp[TILE_COLUMNS];
    long wide = MIN(TILE_COLUMNS, some.end - n);
    for (int j = 0; j < TILE_COLUMNS; j++) {
      wp[j] = (half *)panel + MIN(j, wide - 1) * apart;
      if (rows > 1 && j < wide) unpack_halves((half *)panel + j * apart, w, n + j, depth);
    }
    const unsigned char *next = row_of(w, n + wide, depth),
                        *end = row_of(w, MIN(n + wide + TILE_COLUMNS, some.end), depth);
    ahead panels = in_shares(next, end, (rows + TILE_ROWS - 1) / TILE_ROWS);
    for (long m = 0; m < rows; m += TILE_ROWS) {
      tile_row y[TILE_ROWS];
      if (rows > 1) fetch_share(&panels);
      if (rows == 1) y[0] = halves_of_blocks(x, w, n, some.end - 1, depth);
      else if (rows - m == 1) tile_of_halves(y, from + m, wp, depth, 1);
#if TILE_ROWS > 2
      else if (rows - m == 2) tile_of_halves(y, from + m, wp, depth, 2);
#endif
      else tile_of_halves(y, from + m, wp, depth, TILE_ROWS);
      for (int i = 0; i < MIN(TILE_ROWS, rows - m); i++) {
        float *to = out + (at ? at[m + i] : m + i) * columns + n;
        finish(to, y[i] * scale_of(from[m + i], depth), w.bias ? w.bias + n : 0, add, wide);
      }
    }
  }
}

#endif
