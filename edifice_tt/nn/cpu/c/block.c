// A whole layer: its rows go through it in groups.

// The rows that go through a layer together: where they stand among all, of which text they are, and
// how many of its own positions each sees.
typedef struct {
  long count;
  int at[GROUP], batch[GROUP], sees[GROUP];
} group;

// A group on its way through a layer. `out` and `x` are those of all rows.
typedef struct {
  const layer *w;
  const struct scratch *room;
  const group *of;
  cache own, prefix;
  long shared;
  const float *cos, *sin, *x;
  float *out;
  const float *in; // what the products read that begin a half of the layer
  float *mixed;    // what attention or the delta rule makes, (count, depth)
  long depth;
} passage;

// The stream begins as x, and the products read its norm.
static WIDE void enter_part(const void *of, long part, long member) {
  const passage *p = of;
  const layer *w = p->w;
  long D = w->D;
  range some = rows_of(part, p->of->count);
  for (long i = some.first; i < some.end; i++) {
    float *stream = p->room->stream + i * D;
    for (long d = 0; d < D; d++) stream[d] = p->x[p->of->at[i] * D + d];
    if (w->attn_norm) norm(p->room->h + i * D, stream, w->attn_norm, 0, D, w->eps);
  }
  round_to(w->rounds, p->room->rounded, p->in, 0, some, p->of->count, D);
}

// Queries, keys and values become what attention reads, and the latter two are kept.
static WIDE void turn_part(const void *of, long part, long member) {
  const passage *p = of;
  const layer *w = p->w;
  const cache *own = &p->own;
  long E = w->E, Q = w->H * E, KV = w->K * E;
  range some = rows_of(part, p->of->count);
  for (long i = some.first; i < some.end; i++) {
    float *q = p->room->queries + i * Q, *key = p->room->kv + i * KV;
    const float *value = p->room->kv + (p->of->count + i) * KV;
    for (long n = i * w->H; w->is_gated && n < (i + 1) * w->H; n++)
      for (long e = 0; e < E; e++) {
        p->room->queries[n * E + e] = p->room->wide[2 * n * E + e];
        p->room->gates[n * E + e] = p->room->wide[(2 * n + 1) * E + e];
      }
    norm_heads(q, w->q_norm, Q, w);
    norm_heads(key, w->k_norm, KV, w);
    long angle = (p->shared + p->of->sees[i] - 1) * (w->rotated / 2);
    long at = p->of->batch[i] * own->room + p->of->sees[i] - 1;
    for (long g = 0; g < w->K && p->cos; g++)
      rotate(key + g * E, p->cos + angle, p->sin + angle, w->rotated);
    for (long g = 0; g < w->H && p->cos; g++)
      rotate(q + g * E, p->cos + angle, p->sin + angle, w->rotated);
    for (long g = 0; g < w->K; g++) {
      narrow((kept *)own->kv + (at * w->K + g) * KEPT(E), key + g * E, E);
      narrow((kept *)own->kv + ((own->batch * own->room + at) * w->K + g) * KEPT(E), value + g * E, E);
    }
  }
}

// p->mixed = what attention makes of each row.
static WIDE void attend_to(const passage *p) {
  const layer *w = p->w;
  const struct scratch *room = p->room;
  long count = p->of->count, Q = w->H * w->E, KV = w->K * w->E;
  target to[] = {{w->is_gated ? room->wide : room->queries, w->q, w->is_gated ? 2 * Q : Q},
                 {room->kv, w->k, KV},
                 {room->kv + count * KV, w->v, KV}};
  multiply_all((products){p->in, room->rounded, 0, count, w->D, to, 3, .by = room->by});
  do_rows(room->by.team, count, Q + 2 * KV, turn_part, p);
  attend((attention){p->mixed, room->queries, count, w->H, w->K, w->E, p->prefix.kv, p->prefix.room,
                     p->shared, p->own.kv, p->own.room, p->own.batch, p->of->batch, p->of->sees, w->by,
                     room->scores, room->width},
         room->by.team);
}

static inline long end_of_text(const group *of, long i) {
  long end = i;
  while (end < of->count && of->batch[end] == of->batch[i]) end++;
  return end;
}

static inline float *state_of_text(const passage *p, long i) {
  return (float *)p->own.kv + p->of->batch[i] * p->own.room;
}

// Some channels of all texts. They do not meet, so their tokens follow one another in each part.
#define CHANNELS_EACH 256
static WIDE void convolve_part(const void *of, long part, long member) {
  const passage *p = of;
  delta_rule d = p->w->delta;
  long C = channels_of(d);
  range some = {part * CHANNELS_EACH, MIN(C, (part + 1) * CHANNELS_EACH)};
  for (long i = 0; i < p->of->count; i++)
    convolve(p->room->wide + i * C, state_of_text(p, i), d.filter, some, C, d.conv, p->w->is_gelu);
}

static WIDE void rate_part(const void *of, long part, long member) {
  const passage *p = of;
  delta_rule d = p->w->delta;
  float *b = p->room->rates, *a = b + p->of->count * d.heads;
  range some = rows_of(part, p->of->count);
  for (long i = some.first; i < some.end; i++) {
    float *x = p->room->wide + i * channels_of(d);
    set_length(x, d.keys, d.K, 1 / __builtin_sqrtf(d.K));
    set_length(x + d.keys * d.K, d.keys, d.K, 1);
    set_rates(b + i * d.heads, a + i * d.heads, d);
  }
}

// room->mixed = what the gated delta rule makes of each row, p->mixed its gate. A text that has no
// position of its own yet begins where the prefix stands. `last` is the text of the row before these, or
// -1.
static WIDE void recall(const passage *p, long seen, long last) {
  const struct scratch *room = p->room;
  const group *of = p->of;
  delta_rule d = p->w->delta;
  team *team = room->by.team;
  long C = channels_of(d), Q = d.heads * d.V;
  float *b = room->rates, *a = b + of->count * d.heads;
  target to[] = {{room->wide, d.qkv, C}, {p->mixed, d.z, Q}, {b, d.b, d.heads}, {a, d.a, d.heads}};
  multiply_all((products){p->in, room->rounded, 0, of->count, p->w->D, to, 4, .by = room->by});
  for (long i = 0; i < of->count; last = of->batch[i], i = end_of_text(of, i)) {
    const float *first = p->prefix.kv;
    float *state = state_of_text(p, i);
    if (seen == 1 && of->batch[i] != last)
      for (long n = 0; n < p->own.room; n++) state[n] = first && p->shared ? first[n] : 0;
  }
  long parts = (C + CHANNELS_EACH - 1) / CHANNELS_EACH;
  do_parts(worth(team, of->count * C), parts, convolve_part, p);
  do_rows(team, of->count, 2 * d.keys * d.K, rate_part, p);
  for (long i = 0, end; i < of->count; i = end) {
    end = end_of_text(of, i);
    float *matrices = state_of_text(p, i) + (d.conv - 1) * C;
    recur((recurrence){room->mixed + i * Q, matrices, room->wide + i * C, b + i * d.heads,
                       a + i * d.heads, end - i, d},
          team);
  }
}

// Gates are opened, and what comes through is rounded.
static WIDE void open_part(const void *of, long part, long member) {
  const passage *p = of;
  const layer *w = p->w;
  const delta_rule *d = &w->delta;
  range some = rows_of(part, p->of->count);
  for (long i = some.first; i < some.end; i++) {
    float *mixed = p->mixed + i * p->depth, *recalled = p->room->mixed + i * p->depth;
    if (d->heads) {
      norm_rows(recalled, recalled, d->norm, d->heads, d->V, w->eps);
      activate(mixed, recalled, p->depth, 0);
    } else if (w->is_gated) open_gates(mixed, p->room->gates + i * p->depth, p->depth);
  }
  round_to(w->rounds, p->room->rounded, p->mixed, 0, some, p->of->count, p->depth);
}

// The stream takes up what attention has made, and the feed-forward reads its norm.
static WIDE void go_on_part(const void *of, long part, long member) {
  const passage *p = of;
  const layer *w = p->w;
  long D = w->D;
  range some = rows_of(part, p->of->count);
  for (long i = some.first; i < some.end; i++) {
    float *stream = p->room->stream + i * D, *h = p->room->h + i * D;
    if (!is_plain(w->attn_post_norm, w)) add(stream, h, w->attn_post_norm, w);
    if (w->ffn_norm) norm(h, stream, w->ffn_norm, 0, D, w->eps);
  }
  round_to(w->rounds, p->room->rounded, p->in, 0, some, p->of->count, D);
}

// And what that has made, `made`.
static WIDE void leave_part(const void *of, long part, long member) {
  const passage *p = of;
  const layer *w = p->w;
  long D = w->D;
  float *made = w->experts ? p->room->all_experts : p->room->h;
  range some = rows_of(part, p->of->count);
  for (long i = some.first; i < some.end; i++) {
    float *stream = p->room->stream + i * D;
    if (w->experts || !is_plain(w->ffn_post_norm, w)) add(stream, made + i * D, w->ffn_post_norm, w);
    for (long d = 0; d < D; d++) p->out[p->of->at[i] * D + d] = stream[d];
  }
}

// stream += or h = a product of what was mixed.
static WIDE void add_mixed(const passage *p) {
  const layer *w = p->w;
  int plain = is_plain(w->attn_post_norm, w);
  target to = {plain ? p->room->stream : p->room->h, w->o, w->D};
  multiply_all((products){p->mixed, p->room->rounded, 0, p->of->count, p->depth, &to, 1, .add = plain,
                          .by = p->room->by});
}

static WIDE void feed_forward(const passage *p) {
  const layer *w = p->w;
  const struct scratch *room = p->room;
  if (w->experts) {
    mix_experts(p->in, p->of->count, w, room);
    return;
  }
  int plain = is_plain(w->ffn_post_norm, w);
  feed((fed){w, room, p->in, 0, p->of->count}, (target){room->gate, w->gate, w->F},
       (target){room->up, w->up, w->F}, (target){plain ? room->stream : room->h, w->down, w->D}, plain);
}

// out = the layer's output for tokens x (batch, T, D), of which it leaves in `own` what later tokens
// read, from position seen - 1 on; they come after the first `shared` positions of `prefix`. Only
// `count` of the batch * T rows are read, those that `rows` lists in ascending order, or all if it is
// none.
static WIDE void block(float *out, const float *x, long T, layer w, cache own, cache prefix,
                       long seen, long shared, const int *rows, long count, const float *cos,
                       const float *sin, struct scratch room) {
  long D = w.D, last = -1, recurs = w.delta.heads;
  team *team = room.by.team;
  for (long first = 0; first < count; first += GROUP) {
    group of = {.count = MIN(GROUP, count - first)};
    for (int i = 0; i < of.count; i++) {
      of.at[i] = rows ? rows[first + i] : first + i;
      of.batch[i] = of.at[i] / T;
      of.sees[i] = MIN(seen + of.at[i] % T, own.room);
    }
    passage p = {&w, &room, &of, own, prefix, shared, cos, sin, x, out};
    p.in = w.attn_norm ? room.h : room.stream;
    p.mixed = recurs ? room.gates : room.mixed;
    p.depth = recurs ? w.delta.heads * w.delta.V : w.H * w.E;
    do_rows(team, of.count, D, enter_part, &p);
    if (recurs) recall(&p, seen, last);
    else attend_to(&p);
    last = of.batch[of.count - 1];
    if (recurs || w.is_gated || w.rounds != EXACT) do_rows(team, of.count, p.depth, open_part, &p);
    add_mixed(&p);
    p.in = w.ffn_norm ? room.h : room.stream;
    do_rows(team, of.count, D, go_on_part, &p);
    feed_forward(&p);
    do_rows(team, of.count, D, leave_part, &p);
  }
}
