// The operations that take nearly all the time, for tinygrad's CPU device; `kernels.py` puts the
// sizes and the entry function around them. Each has its formula in `ops`, `quantized` or `blocks`.
//
// Every row is summed in one fixed order, whatever the number of rows; so a candidate's numbers are
// the same bits alone and in any batch.
//
// GROUP rows go through a product or a layer together, so that all stays near; the scores of
// QUERY_ROWS rows are held at a time. These two and MOST_COLUMNS are defined by `kernels.py`, which
// makes room by them.

// The width of a vector, and a tile (rows x columns) of as many accumulators as there are registers
// for. QUADS(f): f(i) for the first lane i of each four lanes.
#if defined(__AVX512F__)
#define WIDTH 16
#define TILE_ROWS 3
#define TILE_COLUMNS 8
#define QUADS(f) f(0), f(4), f(8), f(12)
#elif defined(__AVX2__)
#define WIDTH 8
#define TILE_ROWS 3
#define TILE_COLUMNS 4
#define QUADS(f) f(0), f(4)
#elif defined(__ARM_NEON)
#define WIDTH 4
#define TILE_ROWS 4
#define TILE_COLUMNS 4
#define QUADS(f) f(0)
#else
#define WIDTH 4
#define TILE_ROWS 1
#define TILE_COLUMNS 4
#define QUADS(f) f(0)
#endif

_Static_assert(TILE_COLUMNS <= MOST_COLUMNS, "room for a tile's columns");

// Without it clang splits 512-bit vectors in two, at half the speed.
#define WIDE __attribute__((min_vector_width(512)))
#define UNROLL _Pragma("clang loop unroll(full)")
#define LINE 64 // bytes that memory hands out together
#define MIN(a, b) ((a) < (b) ? (a) : (b))
#define MAX(a, b) ((a) > (b) ? (a) : (b))
typedef float vec __attribute__((ext_vector_type(WIDTH), aligned(4)));
typedef int ivec __attribute__((ext_vector_type(WIDTH), aligned(4)));
typedef float tile_row __attribute__((ext_vector_type(TILE_COLUMNS), aligned(4)));
#define LOAD(p) (*(const vec *)(p))
#define STORE(p, v) (*(vec *)(p) = (v))
#define WHOLE(size) ((size) - (size) % WIDTH)

// Sums of neighbours: lanes of a and b in turn (LOW + HIGH), then pairs of lanes (FIRST + SECOND).
// Within each quad of lanes, which is what processors do fastest.
#define LOW(i) i, i + WIDTH, i + 1, i + 1 + WIDTH
#define HIGH(i) i + 2, i + 2 + WIDTH, i + 3, i + 3 + WIDTH
#define FIRST(i) i, i + 1, i + WIDTH, i + 1 + WIDTH
#define SECOND(i) i + 2, i + 3, i + 2 + WIDTH, i + 3 + WIDTH
#define ADD(a, b, one, other) \
  (__builtin_shufflevector(a, b, QUADS(one)) + __builtin_shufflevector(a, b, QUADS(other)))

// Lane j is the sum of the j-th of TILE_COLUMNS vectors, always in the same order.
static inline WIDE tile_row sums(const vec *v) {
  vec quads[TILE_COLUMNS / 4];
  UNROLL for (int j = 0; j < TILE_COLUMNS / 4; j++) {
    const vec *of = v + 4 * j;
    quads[j] = ADD(ADD(of[0], of[1], LOW, HIGH), ADD(of[2], of[3], LOW, HIGH), FIRST, SECOND);
  }
#if WIDTH == 16
  vec both = __builtin_shufflevector(quads[0], quads[1], 0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20,
                                     21, 22, 23) +
             __builtin_shufflevector(quads[0], quads[1], 8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27,
                                     28, 29, 30, 31);
  return __builtin_shufflevector(both, both, 0, 1, 2, 3, 8, 9, 10, 11) +
         __builtin_shufflevector(both, both, 4, 5, 6, 7, 12, 13, 14, 15);
#elif WIDTH == 8
  return __builtin_shufflevector(quads[0], quads[0], 0, 1, 2, 3) +
         __builtin_shufflevector(quads[0], quads[0], 4, 5, 6, 7);
#else
  return quads[0];
#endif
}

static inline WIDE float sum(vec v) {
  float lanes[WIDTH];
  STORE(lanes, v);
  UNROLL for (int half = WIDTH / 2; half; half /= 2)
    UNROLL for (int i = 0; i < half; i++) lanes[i] += lanes[i + half];
  return lanes[0];
}

// exp(x) for x <= 0: 2^n times a polynomial on [-ln 2 / 2, ln 2 / 2], within 2 units in the last
// place; ln 2 in two parts, the first short enough that n times it is exact.
static inline WIDE vec vexp(vec x) {
  x = x > -87.0f ? x : (vec)(-87.0f);
  vec n = __builtin_elementwise_floor(x * 1.44269504f + 0.5f);
  vec r = x - n * 0.693359375f + n * 2.12194440e-4f;
  vec p = 1.98412698e-4f;
  p = p * r + 1.38888889e-3f;
  p = p * r + 8.33333333e-3f;
  p = p * r + 4.16666667e-2f;
  p = p * r + 1.66666667e-1f;
  p = p * r + 0.5f;
  p = p * r + 1.0f;
  p = p * r + 1.0f;
  ivec power = (__builtin_convertvector(n, ivec) + 127) << 23;
  return p * *(vec *)&power;
}

// --- weights: rows of floats, or of blocks of 32 as GGUF files store them
// (`quantized`), or for products in whole numbers 16 rows at a time (`kernels_int8.c`)

typedef enum { F32, F16, BF16, Q4_0, Q4_1, Q8_0, Q4_0x16, Q4_1x16, Q8_0x16 } kind;
typedef struct {
  const void *data;  // (columns, depth)
  const float *bias; // (columns), or none
  kind kind;
} weight;

typedef struct rounded rounded;
static void round_rows(rounded *, const float *, const int *, long, long);
static void product_int8(float *, const rounded *, const int *, long, weight, long, long, int);
static void unpack_grouped(float *, weight, long, long);

typedef unsigned char octets __attribute__((ext_vector_type(16), aligned(1)));
typedef signed char signed_octets __attribute__((ext_vector_type(16), aligned(1)));
typedef float floats __attribute__((ext_vector_type(16), aligned(4)));
typedef _Float16 halves __attribute__((ext_vector_type(16), aligned(2)));
typedef unsigned short shorts __attribute__((ext_vector_type(16), aligned(2)));
typedef unsigned int words __attribute__((ext_vector_type(16), aligned(4)));
#define FLOATS(b) __builtin_convertvector(b, floats)
#define HALF(p) ((float)*(const _Float16 *)(p))

// Products of a half with a few bits are exact, so these are the very numbers that de-quantising
// in float32 gives.
static inline WIDE void unpack(float *y, const unsigned char *q, long depth, kind kind) {
  for (float *end = y + depth; y < end; y += 32) {
    float d = kind == F16 || kind == BF16 ? 0 : HALF(q);
    if (kind == F16 || kind == BF16) {
      for (int i = 0; i < 32; i += 16)
        if (kind == F16) *(floats *)(y + i) = FLOATS(*(const halves *)(q + 2 * i));
        else *(words *)(y + i) = __builtin_convertvector(*(const shorts *)(q + 2 * i), words) << 16;
      q += 64;
    } else if (kind == Q4_0) {
      octets b = *(const octets *)(q + 2);
      *(floats *)y = (FLOATS(b & 15) - 8) * d;
      *(floats *)(y + 16) = (FLOATS(b >> 4) - 8) * d;
      q += 18;
    } else if (kind == Q4_1) {
      float m = HALF(q + 2);
      octets b = *(const octets *)(q + 4);
      *(floats *)y = FLOATS(b & 15) * d + m;
      *(floats *)(y + 16) = FLOATS(b >> 4) * d + m;
      q += 20;
    } else {
      const signed_octets *b = (const signed_octets *)(q + 2);
      *(floats *)y = FLOATS(b[0]) * d;
      *(floats *)(y + 16) = FLOATS(b[1]) * d;
      q += 34;
    }
  }
}

static const long block_bytes[] = {128, 64, 64, 18, 20, 34}; // of 32 weights of each kind

// Where a row begins. Rows of floats need be no multiple of a block.
static inline const unsigned char *row_of(weight w, long row, long depth) {
  return (const unsigned char *)w.data + row * depth * block_bytes[w.kind] / 32;
}

// y (depth): a row of floats that is copied, or of blocks that are unpacked.
static WIDE void unpack_row(float *y, weight w, long row, long depth) {
  if (w.kind > Q8_0) {
    unpack_grouped(y, w, row, depth);
    return;
  }
  const unsigned char *from = row_of(w, row, depth);
  if (w.kind == F32)
    for (long k = 0; k < depth; k++) y[k] = ((const float *)from)[k];
  if (w.kind == F16) unpack(y, from, depth, F16);
  if (w.kind == BF16) unpack(y, from, depth, BF16);
  if (w.kind == Q4_0) unpack(y, from, depth, Q4_0);
  if (w.kind == Q4_1) unpack(y, from, depth, Q4_1);
  if (w.kind == Q8_0) unpack(y, from, depth, Q8_0);
}

// out (count, depth): the rows of w that `ids` name; zeros for an id that is not in 0 .. rows - 1.
static WIDE void lookup(float *out, const int *ids, long count, weight w, long rows, long depth) {
  for (long i = 0; i < count; i++)
    if (ids[i] >= 0 && ids[i] < rows) unpack_row(out + i * depth, w, ids[i], depth);
    else
      for (long k = 0; k < depth; k++) out[i * depth + k] = 0;
}

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
// rows that `at` lists, if it is given. Behind the last row or column the last one is computed
// again, and not stored. The panel of one tile's columns is unpacked once and serves all rows; it
// has room for TILE_COLUMNS x depth. Meanwhile the weights of the next come nearer, some a tile.
static WIDE void product(float *out, const float *x, const int *at, long rows, weight w,
                         long columns, long depth, float *panel, int add) {
  for (long first = 0; first < rows; first += GROUP) {
    long group = MIN(GROUP, rows - first);
    const float *from[GROUP + TILE_ROWS];
    for (long m = 0; m < group + TILE_ROWS; m++) {
      long row = first + MIN(m, group - 1);
      from[m] = x + (at ? at[row] : row) * depth;
    }
    for (long n = 0; n < columns; n += TILE_COLUMNS) {
      const float *wp[TILE_COLUMNS];
      long wide = MIN(TILE_COLUMNS, columns - n);
      for (int j = 0; j < TILE_COLUMNS; j++) {
        long row = MIN(n + j, columns - 1);
        wp[j] = w.kind == F32 ? (const float *)w.data + row * depth : panel + j * depth;
        if (w.kind != F32 && j < wide) unpack_row(panel + j * depth, w, row, depth);
      }
      const unsigned char *next = row_of(w, n + wide, depth),
                          *end = row_of(w, MIN(n + wide + TILE_COLUMNS, columns), depth);
      ahead panels = in_shares(next, end, (group + TILE_ROWS - 1) / TILE_ROWS);
      for (long m = 0; m < group; m += TILE_ROWS) {
        tile_row y[TILE_ROWS];
        fetch_share(&panels);
        tile(y, from + m, wp, depth, group - m);
        for (int i = 0; i < MIN(TILE_ROWS, group - m); i++) {
          float *to = out + (at ? at[first + m + i] : first + m + i) * columns + n;
          finish(to, y[i], w.bias ? w.bias + n : 0, add, wide);
        }
      }
    }
  }
}

// --- attention: each of the queries (count, E) over a shared prefix and over memories of their own

typedef struct {
  const float *keys, *values; // (positions, K, E), at the head's first
  long stride;                // floats from one position to the next
} memory;

static WIDE void fetch(const float *from, long positions, long stride, long E) {
  for (long s = 0; s < positions; s++)
    for (long e = 0; e < E; e += LINE / sizeof(float)) __builtin_prefetch(from + s * stride + e, 0, 2);
}

// p[i][s] = q[i] . key[s], for s < positions; p's rows are `width` apart.
static WIDE void scores(float *p, long width, const float *const *q, long count, memory at,
                        long positions, long E) {
  for (long s = 0; s < positions; s += TILE_COLUMNS) {
    const float *keys[TILE_COLUMNS];
    for (int j = 0; j < TILE_COLUMNS; j++) keys[j] = at.keys + MIN(s + j, positions - 1) * at.stride;
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

// p[s] = exp(scale p[s]) / their sum, for s < count. What stands behind them up to a whole vector
// is overwritten.
static WIDE void softmax(float *p, long count, float scale) {
  float top = -1e30f;
  vec tops = top;
  for (long s = 0; s < WHOLE(count); s += WIDTH) {
    vec scaled = LOAD(p + s) * scale;
    STORE(p + s, scaled);
    tops = scaled > tops ? scaled : tops;
  }
  for (int i = 0; i < WIDTH; i++) top = tops[i] > top ? tops[i] : top;
  for (long s = WHOLE(count); s < count; s++) {
    p[s] *= scale;
    top = p[s] > top ? p[s] : top;
  }
  // The last vector is filled up with what exp makes next to nothing of.
  for (long s = count; s % WIDTH; s++) p[s] = top - 100;
  vec all = 0;
  for (long s = 0; s < count; s += WIDTH) {
    vec w = vexp(LOAD(p + s) - top);
    STORE(p + s, w);
    all += w;
  }
  float share = 1 / sum(all);
  for (long s = 0; s < count; s++) p[s] *= share;
}

// out[i] += sum over s of p[i][s] value[s]
static WIDE void mix(float *const *out, const float *p, long width, long count, memory at,
                     long positions, long E) {
  for (long i = 0; i < count; i += 4)
    for (long e = 0; e < E; e += 4 * WIDTH) {
      // Behind the last query the last one is computed again, and not stored.
      float *op[4];
      const float *pp[4];
      for (int r = 0; r < 4; r++) {
        op[r] = out[MIN(i + r, count - 1)] + e;
        pp[r] = p + MIN(i + r, count - 1) * width;
      }
      if (E - e >= 4 * WIDTH) {
        vec a[4][4];
        UNROLL for (int r = 0; r < 4; r++)
          UNROLL for (int c = 0; c < 4; c++) a[r][c] = LOAD(op[r] + c * WIDTH);
        for (long s = 0; s < positions; s++) {
          const float *v = at.values + s * at.stride + e;
          UNROLL for (int c = 0; c < 4; c++) {
            vec vc = LOAD(v + c * WIDTH);
            UNROLL for (int r = 0; r < 4; r++) a[r][c] += vc * pp[r][s];
          }
        }
        for (int r = 0; r < MIN(4, count - i); r++)
          UNROLL for (int c = 0; c < 4; c++) STORE(op[r] + c * WIDTH, a[r][c]);
        continue;
      }
      for (int r = 0; r < MIN(4, count - i); r++)
        for (long s = 0; s < positions; s++)
          for (long f = 0; f < E - e; f++) op[r][f] += pp[r][s] * at.values[s * at.stride + e + f];
    }
}

// q, out (rows, H, E). Row i attends to the first `shared` positions of the prefix and to the first
// seen[i] of its own memory, that of batch row batch[i]. Rows of one batch row stand together, and
// see more from one to the next. `p` has room for QUERY_ROWS H/K scores as wide as `width`, a
// multiple of WIDTH.
static WIDE void attend(float *out, const float *q, long rows, long H, long K, long E,
                        const float *prefix, long prefix_room, long shared, const float *own,
                        long own_room, long own_batch, const int *batch, const int *seen, float *p,
                        long width) {
  long rep = H / K, stride = K * E;
  float scale = 1 / __builtin_sqrtf((float)E);
  for (long g = 0; g < K; g++)
    for (long first = 0; first < rows; first += QUERY_ROWS) {
      long count = MIN(QUERY_ROWS, rows - first);
      const float *qs[QUERY_ROWS * rep];
      float *outs[QUERY_ROWS * rep];
      for (long i = 0; i < count * rep; i++) {
        long at = ((first + i / rep) * H + g * rep + i % rep) * E;
        qs[i] = q + at;
        outs[i] = out + at;
        for (long e = 0; e < E; e++) outs[i][e] = 0;
      }
      memory common = {prefix + g * E, prefix + prefix_room * stride + g * E, stride};
      if (shared) scores(p, width, qs, count * rep, common, shared, E);
      for (int pass = 0; pass < 2; pass++) {
        if (pass && shared) mix(outs, p, width, count * rep, common, shared, E);
        for (long i = 0, end; i < count; i = end) {
          for (end = i + 1; end < count && batch[first + end] == batch[first + i];) end++;
          long queries = (end - i) * rep, most = seen[first + end - 1];
          const float *base = own + batch[first + i] * own_room * stride + g * E;
          memory tail = {base, base + own_batch * own_room * stride, stride};
          float *row = p + i * rep * width;
          if (pass) {
            mix(outs + i * rep, row + shared, width, queries, tail, most, E);
            continue;
          }
          // What a row alone attends to comes from far: its values, and the keys of the next row.
          fetch(tail.values, most, stride, E);
          if (end < count) {
            long further = (batch[first + end] - batch[first + i]) * own_room * stride;
            fetch(tail.keys + further, seen[first + end], stride, E);
          }
          scores(row + shared, width, qs + i * rep, queries, tail, most, E);
          for (long n = 0; n < queries; n++) {
            long sees = seen[first + i + n / rep];
            softmax(row + n * width, shared + sees, scale);
            for (long s = shared + sees; s < shared + most; s++) row[n * width + s] = 0;
          }
        }
      }
    }
}

// --- the rest of a layer

// A root-mean-square norm, or with a bias a layer norm.
static WIDE void norm(float *out, const float *x, const float *gain, const float *bias, long size,
                      float eps) {
  vec squares = 0, all = 0;
  float total = 0, mean = 0;
  if (bias) {
    for (long k = 0; k < WHOLE(size); k += WIDTH) all += LOAD(x + k);
    mean = sum(all);
    for (long k = WHOLE(size); k < size; k++) mean += x[k];
    mean /= size;
  }
  for (long k = 0; k < WHOLE(size); k += WIDTH) {
    vec centred = LOAD(x + k) - mean;
    squares += centred * centred;
  }
  total = sum(squares);
  for (long k = WHOLE(size); k < size; k++) total += (x[k] - mean) * (x[k] - mean);
  float scale = 1 / __builtin_sqrtf(total / size + eps);
  for (long k = 0; k < size; k++) {
    float y = (x[k] - mean) * scale * gain[k];
    out[k] = bias ? y + bias[k] : y;
  }
}

// One head (E), in place: the pairs (i, i + E/2) turned by their angles.
static WIDE void rotate(float *x, const float *cos, const float *sin, long E) {
  for (long i = 0; i < E / 2; i++) {
    float a = x[i], b = x[i + E / 2];
    x[i] = a * cos[i] - b * sin[i];
    x[i + E / 2] = b * cos[i] + a * sin[i];
  }
}

// gate = silu(gate) * up; exp only of what is not positive, so that nothing overflows.
static WIDE void silu_gate(float *gate, const float *up, long size) {
  for (long k = 0; k < size; k += WIDTH) {
    float last[2][WIDTH];
    long lanes = MIN(WIDTH, size - k);
    for (long i = 0; i < lanes && lanes < WIDTH; i++) last[0][i] = gate[k + i], last[1][i] = up[k + i];
    vec g = LOAD(lanes < WIDTH ? last[0] : gate + k), u = LOAD(lanes < WIDTH ? last[1] : up + k);
    vec e = vexp(-__builtin_elementwise_abs(g));
    g *= (g < 0 ? e : (vec)1.0f) / (1 + e) * u;
    if (lanes == WIDTH) STORE(gate + k, g);
    else
      for (long i = 0; i < lanes; i++) gate[k + i] = g[i];
  }
}

typedef struct {
  long D, H, K, E, F; // sizes, as everywhere in this library
  float eps;
  int rounds; // whether any weight takes rounded activations
  const float *attn_norm, *ffn_norm;
  weight q, k, v, o, gate, up, down;
} layer;

// A product of this layer: `rounded` are the rows of x where the layer rounds.
static WIDE void multiply(float *out, const float *x, const rounded *rounded, long rows, weight w,
                          long columns, long depth, float *panel, int add) {
  if (w.kind > Q8_0) product_int8(out, rounded, 0, rows, w, columns, depth, add);
  else product(out, x, 0, rows, w, columns, depth, panel, add);
}

typedef struct {
  float *kv;  // keys, then values: (2, batch, room, K, E)
  long batch, room;
} cache;

// The halves of a layer: what attention reads of each token, and the rest.
enum { PROJECTS = 1, READS = 2, WHOLE = 3 };

// out = the layer's output for tokens x (batch, T, D), whose keys and values it writes into `own`
// from position seen - 1 on; they come after the first `shared` positions of `prefix`. Only `count`
// of the batch * T rows are read, those that `rows` lists in ascending order, or all if it is none.
// Of two calls, one for each half, the first leaves the queries (count, H E) for the second.
static WIDE void block(float *out, const float *x, long T, layer w, cache own, cache prefix,
                       long seen, long shared, const int *rows, long count, const float *cos,
                       const float *sin, float *scratch, int halves, float *queries) {
  long D = w.D, Q = w.H * w.E, KV = w.K * w.E, E = w.E, F = w.F;
  long width = (prefix.room + own.room + 15) / 16 * 16;
  float *stream = scratch, *h = stream + GROUP * D, *held = h + GROUP * D, *kv = held + GROUP * Q,
        *mixed = kv + GROUP * KV, *gate = mixed + GROUP * Q, *up = gate + GROUP * F,
        *p = up + GROUP * F, *panel = p + QUERY_ROWS * (w.H / w.K) * width;
  rounded *whole = (rounded *)(panel + MOST_COLUMNS * MAX(D, MAX(F, Q)));
  for (long first = 0; first < count; first += GROUP) {
    long group = MIN(GROUP, count - first);
    float *q = queries ? queries + first * Q : held;
    int at[GROUP], batch[GROUP], sees[GROUP];
    for (int i = 0; i < group; i++) {
      at[i] = rows ? rows[first + i] : first + i;
      batch[i] = at[i] / T;
      sees[i] = MIN(seen + at[i] % T, own.room);
      for (long d = 0; d < D; d++) stream[i * D + d] = x[at[i] * D + d];
    }
    if (halves & PROJECTS) {
      for (int i = 0; i < group; i++) norm(h + i * D, stream + i * D, w.attn_norm, 0, D, w.eps);
      if (w.rounds) round_rows(whole, h, 0, group, D);
      multiply(q, h, whole, group, w.q, Q, D, panel, 0);
      for (int of_values = 0; of_values < 2; of_values++) {
        multiply(kv, h, whole, group, of_values ? w.v : w.k, KV, D, panel, 0);
        for (int i = 0; i < group; i++) {
          long angle = (shared + sees[i] - 1) * (E / 2);
          float *to = own.kv + ((of_values * own.batch + batch[i]) * own.room + sees[i] - 1) * KV;
          for (long e = 0; e < KV; e++) to[e] = kv[i * KV + e];
          if (of_values) continue;
          for (long g = 0; g < w.K; g++) rotate(to + g * E, cos + angle, sin + angle, E);
          for (long g = 0; g < w.H; g++) rotate(q + i * Q + g * E, cos + angle, sin + angle, E);
        }
      }
    }
    if (!(halves & READS)) continue;
    attend(mixed, q, group, w.H, w.K, E, prefix.kv, prefix.room, shared, own.kv, own.room, own.batch,
           batch, sees, p, width);
    if (w.rounds) round_rows(whole, mixed, 0, group, Q);
    multiply(stream, mixed, whole, group, w.o, D, Q, panel, 1);
    for (int i = 0; i < group; i++) norm(h + i * D, stream + i * D, w.ffn_norm, 0, D, w.eps);
    if (w.rounds) round_rows(whole, h, 0, group, D);
    multiply(gate, h, whole, group, w.gate, F, D, panel, 0);
    multiply(up, h, whole, group, w.up, F, D, panel, 0);
    silu_gate(gate, up, group * F);
    if (w.rounds) round_rows(whole, gate, 0, group, F);
    multiply(stream, gate, whole, group, w.down, D, F, panel, 1);
    for (int i = 0; i < group; i++)
      for (long d = 0; d < D; d++) out[at[i] * D + d] = stream[i * D + d];
  }
}
