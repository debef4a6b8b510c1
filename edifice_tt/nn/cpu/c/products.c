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

// One tile, or its first row or rows alone: y[i][j] = x[i] . w[j]. Where some of the depth is taken at a
// time, the sums of each lane are kept until the last is added.
static inline __attribute__((always_inline)) WIDE void
tile_of(tile_row *y, const float *const *x, const float *const *w, range some, long depth,
        vec (*kept)[TILE_COLUMNS], int rows) {
  vec a[TILE_ROWS][TILE_COLUMNS];
  UNROLL for (int i = 0; i < rows; i++)
    UNROLL for (int j = 0; j < TILE_COLUMNS; j++) a[i][j] = some.first ? kept[i][j] : 0;
  for (long k = some.first; k < WHOLE(some.end); k += WIDTH) {
    vec xk[TILE_ROWS];
    UNROLL for (int i = 0; i < rows; i++) xk[i] = LOAD(x[i] + k);
    UNROLL for (int j = 0; j < TILE_COLUMNS; j++) {
      vec v = LOAD(w[j] + k);
      UNROLL for (int i = 0; i < rows; i++) a[i][j] += xk[i] * v;
    }
  }
  if (some.end < depth) {
    UNROLL for (int i = 0; i < rows; i++)
      UNROLL for (int j = 0; j < TILE_COLUMNS; j++) kept[i][j] = a[i][j];
    return;
  }
  UNROLL for (int i = 0; i < rows; i++) {
    y[i] = sums(a[i]);
    for (long k = WHOLE(depth); k < depth; k++)
      for (int j = 0; j < TILE_COLUMNS; j++) y[i][j] += x[i][k] * w[j][k];
  }
}

static inline __attribute__((always_inline)) WIDE void
tile_some(tile_row *y, const float *const *x, const float *const *w, range some, long depth,
          vec (*kept)[TILE_COLUMNS], long rows) {
  if (rows == 1) tile_of(y, x, w, some, depth, kept, 1);
#if TILE_ROWS > 2
  else if (rows == 2) tile_of(y, x, w, some, depth, kept, 2);
#endif
  else tile_of(y, x, w, some, depth, kept, TILE_ROWS);
}

static inline __attribute__((always_inline)) WIDE void
tile(tile_row *y, const float *const *x, const float *const *w, long depth, long rows) {
  tile_some(y, x, w, (range){0, depth}, depth, 0, rows);
}

#define NEAR 768 // of depth, of which a panel stays in the nearest memory; a third more does as well
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

// out (rows, columns) = x (rows, depth) W^T + b, added to what `out` holds if `add`; of both only the
// rows that `at` lists, if it is given, and only some columns. Behind the last row or column the last
// one is computed again, and not stored. The panel of one tile's columns is unpacked once and serves
// all rows, some of the depth at a time, so that it stays in the nearest memory; it has room for
// TILE_COLUMNS x (depth + GAP). Without the gap columns of some depths, as of 2048, would push each
// other out of there. Meanwhile the weights of the next panel come nearer, some a tile.
static WIDE void product(float *out, const float *x, const int *at, long rows, weight w,
                         long columns, range some, long depth, float *panel, int add) {
  int is_floats = w.kind == F32;
  long near = is_floats || depth <= NEAR * 4 / 3 ? depth : NEAR;
  for (long first = 0; first < rows; first += GROUP) {
    long group = MIN(GROUP, rows - first);
    int alone = group == 1 && !is_floats; // no other row needs what is unpacked
    const float *from[GROUP + TILE_ROWS];
    for (long m = 0; m < group + TILE_ROWS; m++) {
      long row = first + MIN(m, group - 1);
      from[m] = x + (at ? at[row] : row) * depth;
    }
    for (long n = some.first; n < some.end; n += TILE_COLUMNS) {
      vec kept[GROUP + TILE_ROWS][TILE_COLUMNS];
      tile_row y[GROUP + TILE_ROWS];
      long wide = MIN(TILE_COLUMNS, some.end - n);
      const unsigned char *next = row_of(w, n + wide, depth),
                          *end = row_of(w, MIN(n + wide + TILE_COLUMNS, some.end), depth);
      long tiles = (group + TILE_ROWS - 1) / TILE_ROWS * ((depth + near - 1) / near);
      ahead panels = in_shares(next, end, tiles);
      if (alone) y[0] = tile_of_blocks(from[0], w, n, some.end - 1, depth);
      else for (range now = {0, MIN(near, depth)}; now.first < depth;
                now.first = now.end, now.end = MIN(now.end + near, depth)) {
        const float *wp[TILE_COLUMNS];
        for (int j = 0; j < TILE_COLUMNS; j++) {
          long row = MIN(n + j, some.end - 1);
          float *column = panel + j * (near + GAP);
          wp[j] = is_floats ? (const float *)w.data + row * depth : column - now.first;
          if (!is_floats && j < wide) unpack_some(column, w, row, depth, now);
        }
        for (long m = 0; m < group; m += TILE_ROWS) {
          fetch_share(&panels);
          tile_some(y + m, from + m, wp, now, depth, kept + m, group - m);
        }
      }
      for (long m = 0; m < group; m++) {
        float *to = out + (at ? at[first + m] : first + m) * columns + n;
        finish(to, y[m], w.bias ? w.bias + n : 0, add, wide);
      }
    }
  }
}
