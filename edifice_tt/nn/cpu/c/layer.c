// What a layer is made of, and of that what is neither product nor attention.

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

// The first numbers of a head, in place: the pairs (i, i + size/2) turned by their angles.
static WIDE void rotate(float *x, const float *cos, const float *sin, long size) {
  for (long i = 0; i < size / 2; i++) {
    float a = x[i], b = x[i + size / 2];
    x[i] = a * cos[i] - b * sin[i];
    x[i + size / 2] = b * cos[i] + a * sin[i];
  }
}

// out = scale x, and of a cap cap tanh(scale x / cap).
static WIDE void scale_all(float *out, const float *x, long size, float scale, float cap) {
  for (long k = 0; k < size; k += WIDTH) {
    vec y = load(x + k, size - k) * scale;
    store(out + k, cap ? vtanh(y / cap) * cap : y, size - k);
  }
}

// gate = activation(gate) * up.
static WIDE void activate(float *gate, const float *up, long size, int is_gelu) {
  for (long k = 0; k < size; k += WIDTH) {
    vec y = activated(load(gate + k, size - k), is_gelu) * load(up + k, size - k);
    store(gate + k, y, size - k);
  }
}

// x *= sigmoid(gate).
static WIDE void open_gates(float *x, const float *gate, long size) {
  for (long k = 0; k < size; k += WIDTH)
    store(x + k, load(x + k, size - k) * vsigmoid(load(gate + k, size - k)), size - k);
}

typedef struct {
  long D, H, K, E, F; // sizes, as everywhere in this library
  long rotated;       // the first numbers of a head, which are turned
  float eps, residual;
  weighting by;
  int is_gelu, norms_whole; // whether one norm is of all heads
  rounding rounds;          // what any weight takes but EXACT
  long experts, used;       // feed-forwards, and through how many of them a row goes; 0: one
  int normed;               // whether the shares of those used add up to 1
  int is_gated;             // whether `q` gives each head its query, and then its gate
  const float *attn_norm, *q_norm, *k_norm, *attn_post_norm, *ffn_norm, *ffn_post_norm; // or none
  weight q, k, v, o, gate, up, down, router;
  delta_rule delta; // of no heads: the layer has attention
} layer;

// out = the norm of each of the rows.
static WIDE void norm_rows(float *out, const float *x, const float *gain, long rows, long size,
                           float eps) {
  for (long i = 0; i < rows; i++) norm(out + i * size, x + i * size, gain, 0, size, eps);
}

// Queries or keys (rows, size): of each head, or of all together, its norm.
static WIDE void norm_heads(float *x, const float *gain, long rows, long size, layer w) {
  long of = w.norms_whole ? size : w.E;
  if (gain) norm_rows(x, x, gain, rows * size / of, of, w.eps);
}

// What attention or the feed-forward makes, y (rows, D), is added to the stream; in place its norm
// is taken, if it has one.
static WIDE void add(float *stream, float *y, const float *gain, long rows, layer w) {
  if (gain) norm_rows(y, y, gain, rows, w.D, w.eps);
  for (long k = 0; k < rows * w.D; k++) stream[k] += w.residual * y[k];
}

// The same of a product. `room` (rows, D) may be what x was made of.
static WIDE void add_product(float *stream, const float *x, const void *rounded, long rows,
                             weight of, long depth, const float *gain, layer w, float *room,
                             workers by) {
  int plain = !gain && w.residual == 1;
  target to = {plain ? stream : room, of, w.D};
  multiply_all((products){x, rounded, 0, rows, depth, &to, 1, .add = plain, .by = by});
  if (!plain) add(stream, room, gain, rows, w);
}

typedef struct {
  void *kv;  // kept keys, then values: (2, batch, room, K, E); or states, floats (batch, room)
  long batch, room;
} cache;

// Where a layer works, for GROUP rows: made by `layer.py`, in this order. The scores of QUERY_ROWS
// rows are `width` apart.
struct scratch {
  float *stream, *h, *queries, *kv, *mixed, *gate, *up, *scores, *rounded;
  float *wide, *gates, *rates, *shares, *expert, *all_experts;
  workers by;
  long width;
};

// p (size): the softmax of the router's logits, where it is among the `used` largest, else -1. Of
// equals the first is used.
static WIDE void share(float *p, long size, long used, int normed) {
  float top = p[0], all = 0, of_used = 0, picked[used];
  long which[used];
  for (long e = 1; e < size; e++) top = MAX(top, p[e]);
  for (long e = 0; e < size; e++) {
    vec shifted = p[e] - top;
    p[e] = vexp(shifted)[0];
    all += p[e];
  }
  for (long u = 0; u < used; u++) {
    which[u] = 0;
    for (long e = 1; e < size; e++)
      if (p[e] > p[which[u]]) which[u] = e;
    picked[u] = p[which[u]];
    p[which[u]] = -1;
  }
  for (long u = 0; u < used; u++) of_used += picked[u];
  for (long e = 0; e < size; e++) p[e] = -1;
  for (long u = 0; u < used; u++) p[which[u]] = picked[u] / (normed ? of_used : all);
}

// room.all_experts (rows, D) = what the experts of each row make of x, summed in their order.
static WIDE void mix_experts(const float *x, long rows, layer w, struct scratch room) {
  long D = w.D, F = w.F;
  void *whole = room.rounded;
  target router = {room.shares, w.router, w.experts};
  multiply_all((products){x, whole, 0, rows, D, &router, 1, .by = room.by});
  for (long i = 0; i < rows; i++) share(room.shares + i * w.experts, w.experts, w.used, w.normed);
  for (long k = 0; k < rows * D; k++) room.all_experts[k] = 0;
  for (long e = 0; e < w.experts; e++) {
    int at[GROUP];
    long count = 0;
    for (long i = 0; i < rows; i++)
      if (room.shares[i * w.experts + e] >= 0) at[count++] = i;
    if (!count) continue;
    round_to(w.rounds, whole, x, at, count, D);
    target into[] = {{room.gate, from_row(w.gate, e * F, D), F},
                     {room.up, from_row(w.up, e * F, D), F}};
    multiply_all((products){x, whole, at, count, D, into, 2, .by = room.by});
    for (long i = 0; i < count; i++)
      activate(room.gate + at[i] * F, room.up + at[i] * F, F, w.is_gelu);
    round_to(w.rounds, whole, room.gate, at, count, F);
    target out_of = {room.expert, from_row(w.down, e * D, F), D};
    multiply_all((products){room.gate, whole, at, count, F, &out_of, 1, .by = room.by});
    for (long i = 0; i < count; i++)
      for (long d = 0; d < D; d++)
        room.all_experts[at[i] * D + d] +=
            room.shares[at[i] * w.experts + e] * room.expert[at[i] * D + d];
  }
}
