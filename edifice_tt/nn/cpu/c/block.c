// A whole layer: its rows go through it in groups.

// The rows that go through a layer together: where they stand among all, of which text they are, and
// how many of its own positions each sees.
typedef struct {
  long count;
  int at[GROUP], batch[GROUP], sees[GROUP];
} group;

// Queries (count, H E), their gates if there are any, and in `own` the keys and values.
static WIDE void project(float *q, float *gates, const float *in, const group *of, layer w, cache own,
                         long shared, const float *cos, const float *sin, struct scratch room) {
  long D = w.D, Q = w.H * w.E, KV = w.K * w.E, E = w.E;
  void *whole = room.rounded;
  float *values = room.kv + of->count * KV;
  target to[] = {{w.is_gated ? room.wide : q, w.q, w.is_gated ? 2 * Q : Q},
                 {room.kv, w.k, KV},
                 {values, w.v, KV}};
  multiply_all((products){in, whole, 0, of->count, D, to, 3, .by = room.by});
  for (long n = 0; w.is_gated && n < of->count * w.H; n++)
    for (long e = 0; e < E; e++) {
      q[n * E + e] = room.wide[2 * n * E + e];
      gates[n * E + e] = room.wide[(2 * n + 1) * E + e];
    }
  norm_heads(q, w.q_norm, of->count, Q, w);
  norm_heads(room.kv, w.k_norm, of->count, KV, w);
  for (int i = 0; i < of->count; i++) {
    long angle = (shared + of->sees[i] - 1) * (w.rotated / 2);
    long at = of->batch[i] * own.room + of->sees[i] - 1;
    float *key = room.kv + i * KV;
    for (long g = 0; g < w.K && cos; g++) rotate(key + g * E, cos + angle, sin + angle, w.rotated);
    for (long g = 0; g < w.H && cos; g++)
      rotate(q + i * Q + g * E, cos + angle, sin + angle, w.rotated);
    for (long g = 0; g < w.K; g++) {
      narrow((kept *)own.kv + (at * w.K + g) * KEPT(E), key + g * E, E);
      narrow((kept *)own.kv + ((own.batch * own.room + at) * w.K + g) * KEPT(E),
             values + i * KV + g * E, E);
    }
  }
}

// out (count, heads V) = what the gated delta rule makes of each row. A text that has no position of
// its own yet begins where the prefix stands. `last` is the text of the row before these, or -1.
static WIDE void recall(float *out, const float *in, const group *of, layer w, cache own, cache prefix,
                        long seen, long shared, long last, struct scratch room) {
  delta_rule d = w.delta;
  long D = w.D, C = channels_of(d), Q = d.heads * d.V;
  void *whole = room.rounded;
  float *b = room.rates, *a = b + of->count * d.heads, *mixed = room.mixed;
  target to[] = {{room.wide, d.qkv, C}, {out, d.z, Q}, {b, d.b, d.heads}, {a, d.a, d.heads}};
  multiply_all((products){in, whole, 0, of->count, D, to, 4, .by = room.by});
  for (long i = 0, end; i < of->count; last = of->batch[i], i = end) {
    for (end = i; end < of->count && of->batch[end] == of->batch[i]; end++) {}
    const float *first = prefix.kv;
    float *state = (float *)own.kv + of->batch[i] * own.room;
    if (seen == 1 && of->batch[i] != last)
      for (long n = 0; n < own.room; n++) state[n] = first && shared ? first[n] : 0;
    for (long t = i; t < end; t++) {
      float *x = room.wide + t * C;
      convolve(x, state, d.filter, C, d.conv, w.is_gelu);
      set_length(x, d.keys, d.K, 1 / __builtin_sqrtf(d.K));
      set_length(x + d.keys * d.K, d.keys, d.K, 1);
      set_rates(b + t * d.heads, a + t * d.heads, d);
    }
    recur((recurrence){mixed + i * Q, state + (d.conv - 1) * C, room.wide + i * C, b + i * d.heads,
                       a + i * d.heads, end - i, d},
          room.by.team);
  }
  norm_rows(mixed, mixed, d.norm, of->count * d.heads, d.V, w.eps);
  activate(out, mixed, of->count * Q, 0);
}

// stream += what the feed-forward, or experts, make of it.
static WIDE void feed_forward(float *stream, long rows, layer w, struct scratch room) {
  long D = w.D, F = w.F;
  void *whole = room.rounded;
  const float *in = w.ffn_norm ? room.h : stream;
  if (w.ffn_norm) norm_rows(room.h, stream, w.ffn_norm, rows, D, w.eps);
  round_to(w.rounds, whole, in, 0, rows, D);
  if (w.experts) {
    mix_experts(in, rows, w, room);
    add(stream, room.all_experts, w.ffn_post_norm, rows, w);
    return;
  }
  target to[] = {{room.gate, w.gate, F}, {room.up, w.up, F}};
  multiply_all((products){in, whole, 0, rows, D, to, 2, .by = room.by});
  activate(room.gate, room.up, rows * F, w.is_gelu);
  round_to(w.rounds, whole, room.gate, 0, rows, F);
  add_product(stream, room.gate, whole, rows, w.down, F, w.ffn_post_norm, w, room.h, room.by);
}

// out = the layer's output for tokens x (batch, T, D), of which it leaves in `own` what later tokens
// read, from position seen - 1 on; they come after the first `shared` positions of `prefix`. Only
// `count` of the batch * T rows are read, those that `rows` lists in ascending order, or all if it is
// none.
static WIDE void block(float *out, const float *x, long T, layer w, cache own, cache prefix,
                       long seen, long shared, const int *rows, long count, const float *cos,
                       const float *sin, struct scratch room) {
  long D = w.D, Q = w.H * w.E, last = -1;
  float *stream = room.stream, *mixed = room.mixed, *q = room.queries, *gates = room.gates;
  void *whole = room.rounded;
  for (long first = 0; first < count; first += GROUP) {
    group of = {.count = MIN(GROUP, count - first)};
    for (int i = 0; i < of.count; i++) {
      of.at[i] = rows ? rows[first + i] : first + i;
      of.batch[i] = of.at[i] / T;
      of.sees[i] = MIN(seen + of.at[i] % T, own.room);
      for (long d = 0; d < D; d++) stream[i * D + d] = x[of.at[i] * D + d];
    }
    const float *in = w.attn_norm ? room.h : stream;
    if (w.attn_norm) norm_rows(room.h, stream, w.attn_norm, of.count, D, w.eps);
    round_to(w.rounds, whole, in, 0, of.count, D);
    if (w.delta.heads) {
      mixed = room.gates;
      recall(mixed, in, &of, w, own, prefix, seen, shared, last, room);
      last = of.batch[of.count - 1];
    } else {
      project(q, gates, in, &of, w, own, shared, cos, sin, room);
      attend((attention){mixed, q, of.count, w.H, w.K, w.E, prefix.kv, prefix.room, shared, own.kv,
                         own.room, own.batch, of.batch, of.sees, w.by, room.scores, room.width},
             room.by.team);
      if (w.is_gated) open_gates(mixed, gates, of.count * Q);
    }
    long depth = w.delta.heads ? w.delta.heads * w.delta.V : Q;
    round_to(w.rounds, whole, mixed, 0, of.count, depth);
    add_product(stream, mixed, whole, of.count, w.o, depth, w.attn_post_norm, w, room.h, room.by);
    feed_forward(stream, of.count, w, room);
    for (int i = 0; i < of.count; i++)
      for (long d = 0; d < D; d++) out[of.at[i] * D + d] = stream[i * D + d];
  }
}
