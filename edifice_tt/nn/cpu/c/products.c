// Products of float32 rows with a weight of any kind; the weight is unpacked panel by panel.

// Memory that is read next, and how much of it to bring nearer at a time.
typedef struct {
  const unsigned char *at, *end;
  long share;
} ahead;

static inline ahead in_shares(const unsigned char *at, const unsigned char *end, long tiles) {
  return (ahead){at, end, (end - at) / tiles + LINE};
}

static inline void fetch_share(ahead *a) {
  for (long of = 0; of < a->share && a->at < a->end; of += LINE, a->at += LINE)
    __builtin_prefetch(a->at, 0, 2);
}

// One tile, or its first row or rows alone: y[i][j] = x[i] . w[j].
static inline __attribute__((always_inline)) WIDE void
tile_of(tile_row *y, const float *const *x, const float *const *w, long depth,
        int rows) {
  vec a[TILE_ROWS][TILE_COLUMNS];
  UNROLL for (int i = 0; i < rows; i++)
    UNROLL for (int j = 0; j < TILE_COLUMNS; j++) a[i][j] = 0;
  for (long k = 0; k < WHOLE(depth); k += WIDTH) {
    vec xk[TILE_ROWS];
    UNROLL for (int i = 0; i < rows; i++) xk[i] = LOAD(x[i] + k);
    UNROLL for (int j = 0; j < TILE_COLUMNS; j++) {
      vec v = LOAD(w[j] + k);
      UNROLL for (int i = 0; i < rows; i++) a[i][j] += xk[i] * v;
    }
  }
  UNROLL for (int i = 0; i < rows; i++) {
    y[i] = sums(a[i]);
    for (long k = WHOLE(depth); k < depth; k++)
      for (int j = 0; j < TILE_COLUMNS; j++) y[i][j] += x[i][k] * w[j][k];
  }
}

static inline __attribute__((always_inline)) WIDE void
tile(tile_row *y, const float *const *x, const float *const *w, long depth,
     long rows) {
  if (rows == 1) tile_of(y, x, w, depth, 1);
#if TILE_ROWS > 2
  else if (rows == 2) tile_of(y, x, w, depth, 2);
#endif
  else tile_of(y, x, w, depth, TILE_ROWS);
}

#define SOME 2 // columns whose blocks are unpacked by turns

// Bring nearer what is read next, in FAR bytes, of columns that lie one behind the other.
static inline void fetch_far(const unsigned char *from, long bytes) {
  for (long at = 0; at < bytes; at += LINE) __builtin_prefetch(from + at + FAR, 0, 3);
}

// The sums of one tile, as in `tile_of`, of one row and blocks; they are unpacked on the way. Of large
// blocks a few have their scales read before, so that nothing waits for them.
#define TIMES_BLOCKS(name, bytes, weights) \
  static __attribute__((noinline)) WIDE void times_##name( \
      vec *to, const float *x, const unsigned char *const *rows, long depth) { \
    enum { few = weights > 32 ? 2 : 1 }; \
    vec a[SOME] = {0}; \
    for (long b = 0, end; b < depth / weights; b = end) { \
      scales of[SOME][few]; \
      end = MIN(b + few, depth / weights); \
      UNROLL for (int j = 0; j < SOME; j++) { \
        fetch_far(rows[j] + b * bytes, (end - b) * bytes); \
        for (long i = b; i < end; i++) read_##name(&of[j][i - b], rows[j] + i * bytes); \
      } \
      for (long i = b; i < end; i++) \
        UNROLL for (int s = 0; s < weights / 16; s++) \
          UNROLL for (int j = 0; j < SOME; j++) { \
            floats y = sixteen_##name(rows[j] + i * bytes, &of[j][i - b], s); \
            UNROLL for (int k = 0; k < 16; k += WIDTH) \
              a[j] += LOAD(x + i * weights + 16 * s + k) * LOAD((float *)&y + k); \
          } \
    } \
    UNROLL for (int j = 0; j < SOME; j++) to[j] = a[j]; \
  }
FORMATS(TIMES_BLOCKS)

static WIDE tile_row tile_of_blocks(const float *x, weight w, long first, long last, long depth) {
  vec a[TILE_COLUMNS];
  const unsigned char *rows[TILE_COLUMNS];
  for (int j = 0; j < TILE_COLUMNS; j++) rows[j] = row_of(w, MIN(first + j, last), depth);
  for (int j = 0; j < TILE_COLUMNS; j += SOME) switch (w.kind) {
#define TIMES(name, ...) case name: times_##name(a + j, x, rows + j, depth); break;
    FORMATS(TIMES)
    default: break;
    }
  return sums(a);
}

// out = y + b, added to what `out` holds if `add`: of a whole tile's columns, or of the first.
static inline WIDE void finish(float *out, tile_row y, const float *bias, int add, long columns) {
  if (columns < TILE_COLUMNS) {
    for (long j = 0; j < columns; j++) out[j] = y[j] + (bias ? bias[j] : 0) + (add ? out[j] : 0);
    return;
  }
  if (bias) y += *(const tile_row *)bias;
  if (add) y += *(const tile_row *)out;
  *(tile_row *)out = y;
}

typedef struct {
  long first, end; // tiles are the same for every range that begins with a multiple of 16
} range;

// out (rows, columns) = x (rows, depth) W^T + b, added to what `out` holds if `add`; of both only the
// rows that `at` lists, if it is given, and only some columns. Behind the last row or column the last
// one is computed again, and not stored. The panel of one tile's columns is unpacked once and serves
// all rows; it has room for TILE_COLUMNS x (depth + GAP). Without the gap columns of some depths, as of
// 2048, would push each other out of the nearest memory. Meanwhile the weights of the next panel come
// nearer, some a tile.
static WIDE void product(float *out, const float *x, const int *at, long rows, weight w,
                         long columns, range some, long depth, float *panel, int add) {
  for (long first = 0; first < rows; first += GROUP) {
    long group = MIN(GROUP, rows - first);
    int alone = group == 1 && w.kind != F32; // no other row needs what is unpacked
    const float *from[GROUP + TILE_ROWS];
    for (long m = 0; m < group + TILE_ROWS; m++) {
      long row = first + MIN(m, group - 1);
      from[m] = x + (at ? at[row] : row) * depth;
    }
    for (long n = some.first; n < some.end; n += TILE_COLUMNS) {
      const float *wp[TILE_COLUMNS];
      long wide = MIN(TILE_COLUMNS, some.end - n);
      for (int j = 0; j < TILE_COLUMNS; j++) {
        long row = MIN(n + j, some.end - 1);
        float *column = panel + j * (depth + GAP);
        wp[j] = w.kind == F32 ? (const float *)w.data + row * depth : column;
        if (!alone && w.kind != F32 && j < wide) unpack_row(column, w, row, depth);
      }
      const unsigned char *next = row_of(w, n + wide, depth),
                          *end = row_of(w, MIN(n + wide + TILE_COLUMNS, some.end), depth);
      ahead panels = in_shares(next, end, (group + TILE_ROWS - 1) / TILE_ROWS);
      for (long m = 0; m < group; m += TILE_ROWS) {
        tile_row y[TILE_ROWS];
        if (!alone) fetch_share(&panels);
        if (alone) y[0] = tile_of_blocks(from[m], w, n, some.end - 1, depth);
        else tile(y, from + m, wp, depth, group - m);
        for (int i = 0; i < MIN(TILE_ROWS, group - m); i++) {
          float *to = out + (at ? at[first + m + i] : first + m + i) * columns + n;
          finish(to, y[i], w.bias ? w.bias + n : 0, add, wide);
        }
      }
    }
  }
}
