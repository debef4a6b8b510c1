// Scores: the products of queries with keys as they are kept.

typedef struct {
  const kept *keys, *values; // (positions, K, KEPT(E)), at the head's first
  long stride;               // `kept` from one position to the next
} memory;

// Bring so many positions nearer, so much of each.
static WIDE void fetch(const kept *from, long positions, long stride, long size) {
  for (long s = 0; s < positions; s++)
    for (long e = 0; e < size; e += LINE / sizeof(kept)) __builtin_prefetch(from + s * stride + e, 0, 2);
}

#define AHEAD 16     // positions
#define TOGETHER 32L // positions that become floats at a time, since all rows read them meanwhile

// Keys or values that can be reckoned with.
typedef struct {
  const float *at;
  long stride;
  int is_far; // whether they are still where they are kept
} numbers;

// How many positions so many queries read at a time. Floats stay where they are kept, unless many
// queries read them over and again, and positions push each other out of the nearest memory.
static inline long together(long stride, long count) {
  return KEPT_BITS == 32 && (count < 8 || stride * sizeof(kept) % 2048) ? 1L << 62 : TOGETHER;
}

// So many of these positions; meanwhile those behind them come nearer.
static inline WIDE numbers as_floats(const kept *from, long stride, long some, long positions, long E,
                                     float *room) {
#if KEPT_BITS == 32
  if (some > TOGETHER) return (numbers){from, stride, 1};
#endif
  for (long s = 0; s < some; s++) {
    fetch(from + (s + AHEAD) * stride, s + AHEAD < positions, stride, KEPT(E));
    widen(room + s * E, from + s * stride, E);
  }
  return (numbers){room, E, 0};
}

#if KEPT_BITS == 8
// Keys of 8 bits meet queries that are rounded as well. Sums within 32 numbers are exact; a lane is a
// position.
typedef const rounded *query;
#define ASKED(E) (((E) + 31) / 32) // `rounded` that a query becomes

static WIDE query asked(rounded *to, const float *q, long E) {
  float last[32] = {0};
  round_rows(to, q, 0, (range){0, 1}, 1, E / 32 * 32);
  for (long e = E / 32 * 32; e < E; e++) last[e % 32] = q[e];
  if (E % 32) round_rows(to + E / 32, last, 0, (range){0, 1}, 1, 32);
  return to;
}

// Of each of WIDTH positions 16 bytes: lane j of out[i] are four of them, from 4 i on. Those behind
// the last are the last.
static inline WIDE void read_words(ivec *out, const kept *from, long stride, long last) {
  typedef int four __attribute__((ext_vector_type(4), aligned(1)));
  ivec x[4];
  UNROLL for (int i = 0; i < 4; i++) {
    four part[WIDTH / 4];
    UNROLL for (int n = 0; n < WIDTH / 4; n++)
      part[n] = *(const four *)(from + MIN(4 * n + i, last) * stride);
    x[i] = *(ivec *)part;
  }
#define TURN(a, b, how) __builtin_shufflevector(a, b, QUADS(how))
  ivec low[2] = {TURN(x[0], x[1], LOW), TURN(x[2], x[3], LOW)};
  ivec high[2] = {TURN(x[0], x[1], HIGH), TURN(x[2], x[3], HIGH)};
  out[0] = TURN(low[0], low[1], FIRST), out[1] = TURN(low[0], low[1], SECOND);
  out[2] = TURN(high[0], high[1], FIRST), out[3] = TURN(high[0], high[1], SECOND);
}

static inline __attribute__((always_inline)) WIDE void
score_rows(float *p, long width, const query *q, const quads *words, const vec *scales, long E,
           long positions, int rows) {
  vec a[4];
  UNROLL for (int r = 0; r < rows; r++) a[r] = 0;
  for (long b = 0; b < ASKED(E); b++) {
    ivec s[4];
    UNROLL for (int r = 0; r < rows; r++) s[r] = 0;
    for (long k = 8 * b; k < MIN(8 * b + 8, (E + 15) / 16 * 4); k += 4)
      UNROLL for (int j = 0; j < 4; j++)
        UNROLL for (int r = 0; r < rows; r++)
          s[r] = dot(s[r], words[k + j], q[r][b].x + 4 * (k + j - 8 * b), 8);
    UNROLL for (int r = 0; r < rows; r++)
      a[r] += (CONVERT(s[r]) - OFFSET * q[r][b].sum[2]) * scales[b] * q[r][b].scale;
  }
  UNROLL for (int r = 0; r < rows; r++) store(p + r * width, a[r], positions);
}

// p[i][s] = q[i] . key[s], for s < positions; p's rows are `width` apart. A key is read in whole 16
// bytes: of the last one what stands behind it, too, in the room of the values.
static WIDE void scores(float *p, long width, const query *q, long count, memory at,
                        long positions, long E) {
  long size = (E + 15) / 16;
  quads words[4 * size];
  vec scales[2 * size + 8];
  for (long s = 0; s < positions; s += WIDTH) {
    const kept *from = at.keys + s * at.stride;
    long last = MIN(WIDTH, positions - s) - 1;
    fetch(from + WIDTH * at.stride, MIN(WIDTH, positions - s - WIDTH), at.stride, KEPT(E));
    for (long k = 0; k < size; k++) {
      read_words((ivec *)words + 4 * k, from + 16 * k, at.stride, last);
      UNROLL for (int i = 0; i < 4; i++) words[4 * k + i] ^= OFFSET;
    }
    for (long b = 0; b < ASKED(E); b += 8) {
      ivec pair[4];
      read_words(pair, from + E + 2 * b, at.stride, last);
      UNROLL for (int i = 0; i < 4; i++) {
        scales[b + 2 * i] = (vec)(pair[i] << 16);
        scales[b + 2 * i + 1] = (vec)(pair[i] & (int)0xffff0000);
      }
    }
    for (long i = 0, rows; i < count; i += rows) {
      rows = MIN(4, count - i);
#define ROWS(n) \
  if (rows == n) score_rows(p + i * width + s, width, q + i, words, scales, E, positions - s, n);
      ROWS(1) ROWS(2) ROWS(3) ROWS(4)
    }
  }
}
#else
typedef const float *query;
#define ASKED(E) 0

static inline query asked(rounded *to, const float *q, long E) { return q; }

// p[i][s] = q[i] . key[s], for s < positions; p's rows are `width` apart.
static WIDE void scores_of(float *p, long width, const query *q, long count, numbers of,
                           long positions, long E) {
  for (long s = 0; s < positions; s += TILE_COLUMNS) {
    const float *keys[TILE_COLUMNS];
    for (int j = 0; j < TILE_COLUMNS; j++) keys[j] = of.at + MIN(s + j, positions - 1) * of.stride;
    if (of.is_far)
      fetch((const kept *)(of.at + (s + AHEAD) * of.stride),
            MIN(TILE_COLUMNS, positions - s - AHEAD), of.stride, E);
    for (long i = 0; i < count; i += TILE_ROWS) {
      const float *qp[TILE_ROWS];
      tile_row y[TILE_ROWS];
      for (int r = 0; r < TILE_ROWS; r++) qp[r] = q[MIN(i + r, count - 1)];
      tile(y, qp, keys, E, count - i);
      for (int r = 0; r < MIN(TILE_ROWS, count - i); r++)
        finish(p + (i + r) * width + s, y[r], 0, 0, MIN(TILE_COLUMNS, positions - s));
    }
  }
}

static WIDE void scores(float *p, long width, const query *q, long count, memory at,
                        long positions, long E) {
  float room[TOGETHER * E];
  for (long s = 0, some; s < positions; s += some) {
    some = MIN(together(at.stride, count), positions - s);
    numbers keys = as_floats(at.keys + s * at.stride, at.stride, some, positions - s, E, room);
    scores_of(p + s, width, q, count, keys, some, E);
  }
}
#endif
