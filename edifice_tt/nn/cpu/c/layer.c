// A whole pre-norm layer, and of it what is neither product nor attention.

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
  if (w.kind >= FIRST_GROUPED) product_int8(out, rounded, 0, rows, w, columns, depth, add);
  else product(out, x, 0, rows, w, columns, depth, panel, add);
}

typedef struct {
  float *kv;  // keys, then values: (2, batch, room, K, E)
  long batch, room;
} cache;

// Where a layer works, for GROUP rows: made by `kernels.py`, in this order. The scores of QUERY_ROWS
// rows are `width` apart.
struct scratch {
  float *stream, *h, *queries, *kv, *mixed, *gate, *up, *scores, *panel, *rounded;
  long width;
};

// The halves of a layer: what attention reads of each token, and the rest.
enum { PROJECTS = 1, READS = 2, WHOLE = 3 };

// out = the layer's output for tokens x (batch, T, D), whose keys and values it writes into `own`
// from position seen - 1 on; they come after the first `shared` positions of `prefix`. Only `count`
// of the batch * T rows are read, those that `rows` lists in ascending order, or all if it is none.
// Of two calls, one for each half, the first leaves the queries (count, H E) for the second.
static WIDE void block(float *out, const float *x, long T, layer w, cache own, cache prefix,
                       long seen, long shared, const int *rows, long count, const float *cos,
                       const float *sin, struct scratch room, int halves, float *queries) {
  long D = w.D, Q = w.H * w.E, KV = w.K * w.E, E = w.E, F = w.F;
  float *stream = room.stream, *h = room.h, *kv = room.kv, *mixed = room.mixed, *gate = room.gate,
        *up = room.up, *panel = room.panel;
  rounded *whole = (rounded *)room.rounded;
  for (long first = 0; first < count; first += GROUP) {
    long group = MIN(GROUP, count - first);
    float *q = queries ? queries + first * Q : room.queries;
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
           batch, sees, room.scores, room.width);
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
