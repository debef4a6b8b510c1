// The gated delta rule: a matrix per head, of which each token reads, and which it corrects.

typedef struct {
  long keys, heads; // of queries and keys; of values: so many matrices are kept
  long K, V;        // the size of a key, and of a value
  long conv;        // tokens that the convolution reads
  int tiled;        // head i reads keys i mod `keys`, else those of i / (heads / keys)
  const float *filter, *dt_bias, *decay, *norm;
  weight qkv, z, b, a;
} delta_rule;

static inline WIDE long channels_of(delta_rule d) { return 2 * d.keys * d.K + d.heads * d.V; }

// What is kept of a text: the last inputs (conv - 1, channels), then the matrices (heads, K, V).
static inline WIDE long state_of(delta_rule d) {
  return (d.conv - 1) * channels_of(d) + d.heads * d.K * d.V;
}

// Some channels of x (size) = the inputs of a token, convolved and activated, in place. `before` are the
// inputs of the tokens before it, and become those of the next.
static WIDE void convolve(float *restrict x, float *restrict before, const float *restrict filter,
                          range some, long size, long conv, int is_gelu) {
  for (long c = some.first; c < some.end; c++) {
    float y = 0, now = x[c];
    for (long j = 0; j < conv - 1; j++) y += before[j * size + c] * filter[c * conv + j];
    for (long j = 0; j < conv - 2; j++) before[j * size + c] = before[(j + 1) * size + c];
    if (conv > 1) before[(conv - 2) * size + c] = now;
    x[c] = y + now * filter[c * conv + conv - 1];
  }
  for (long c = some.first; c < some.end; c += WIDTH)
    store(x + c, activated(load(x + c, some.end - c), is_gelu), some.end - c);
}

// Each of the rows (size) gets the length `length`.
static WIDE void set_length(float *x, long rows, long size, float length) {
  for (long i = 0; i < rows; i++, x += size) {
    vec squares = 0;
    for (long k = 0; k < size; k += WIDTH) {
      vec y = load(x + k, size - k);
      squares += y * y;
    }
    float scale = length / __builtin_sqrtf(sum(squares) + 1e-6f);
    for (long k = 0; k < size; k++) x[k] *= scale;
  }
}

// b becomes how much of an error is corrected, a how much of a matrix stays: each (heads).
static WIDE void set_rates(float *b, float *a, delta_rule d) {
  for (long h = 0; h < d.heads; h += WIDTH) {
    long left = d.heads - h;
    store(b + h, vsigmoid(load(b + h, left)), left);
    vec rate = vsoftplus(load(a + h, left) + load(d.dt_bias + h, left));
    store(a + h, vexp(load(d.decay + h, left) * rate), left);
  }
}

// Some columns of a matrix (K, V), `count` vectors wide, of which the last has so many lanes. It is told
// that k stands for v; out is what it then answers to q.
static inline __attribute__((always_inline)) WIDE void correct(
    float *out, float *matrix, const float *q, const float *k, const float *v, float stays,
    float corrected, long K, long V, int count, long lanes) {
  vec held[4], change[4], answer[4];
  UNROLL for (int c = 0; c < count; c++) held[c] = answer[c] = 0;
  for (long i = 0; i < K; i++)
    UNROLL for (int c = 0; c < count; c++)
      held[c] += load(matrix + i * V + c * WIDTH, lanes) * k[i];
  UNROLL for (int c = 0; c < count; c++)
    change[c] = (load(v + c * WIDTH, lanes) - held[c] * stays) * corrected;
  for (long i = 0; i < K; i++)
    UNROLL for (int c = 0; c < count; c++) {
      float *at = matrix + i * V + c * WIDTH;
      vec row = load(at, lanes) * stays + change[c] * k[i];
      store(at, row, lanes);
      answer[c] += row * q[i];
    }
  UNROLL for (int c = 0; c < count; c++) store(out + c * WIDTH, answer[c], lanes);
}

// Neighbouring tokens of one text: out (tokens, heads, V), from what `qkv` (tokens, channels), `a` and
// `b` (tokens, heads) have become.
typedef struct {
  float *out, *matrices;
  const float *qkv, *b, *a;
  long tokens;
  delta_rule d;
} recurrence;

// One head. Columns do not meet, so all tokens go through a few of them while these are near.
static WIDE void recur_part(const void *of, long h, long member) {
  recurrence r = *(const recurrence *)of;
  delta_rule d = r.d;
  long C = channels_of(d), K = d.K, V = d.V;
  long keys = d.tiled ? h % d.keys : h / (d.heads / d.keys);
  for (long e = 0, next; e < V; e = next) {
    next = V - e < 4 * WIDTH ? MIN(V, e + WIDTH) : e + 4 * WIDTH;
    for (long t = 0; t < r.tokens; t++) {
      const float *q = r.qkv + t * C + keys * K, *k = q + d.keys * K;
      const float *v = r.qkv + t * C + 2 * d.keys * K + h * V + e;
      float *to = r.out + (t * d.heads + h) * V + e, *matrix = r.matrices + h * K * V + e;
      float stays = r.a[t * d.heads + h], corrected = r.b[t * d.heads + h];
      if (next - e > WIDTH) correct(to, matrix, q, k, v, stays, corrected, K, V, 4, WIDTH);
      else correct(to, matrix, q, k, v, stays, corrected, K, V, 1, next - e);
    }
  }
}

static WIDE void recur(recurrence r, team *t) { do_parts(t, r.d.heads, recur_part, &r); }
