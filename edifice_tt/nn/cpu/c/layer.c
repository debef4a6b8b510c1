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

// Queries or keys of a row (size): of each head, or of all together, its norm.
static WIDE void norm_heads(float *x, const float *gain, long size, const layer *w) {
  long of = w->norms_whole ? size : w->E;
  if (gain) norm_rows(x, x, gain, size / of, of, w->eps);
}

// Whether what attention or the feed-forward makes is added to the stream as it is.
static inline int is_plain(const float *gain, const layer *w) { return !gain && w->residual == 1; }

// y (D) is added to a row of the stream; in place its norm is taken, if it has one.
static WIDE void add(float *stream, float *y, const float *gain, const layer *w) {
  if (gain) norm(y, y, gain, 0, w->D, w->eps);
  for (long k = 0; k < w->D; k++) stream[k] += w->residual * y[k];
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

// The team, where so many numbers are worth its while. One takes about as long as 8 weights of a product.
static inline team *worth(team *t, long numbers) { return t && numbers * 8 > t->least ? t : 0; }

// What happens to each row alone is shared out by rows: some at a time, whose rounded numbers fill whole
// lines of memory.
#define ROWS_EACH 4

static inline range rows_of(long part, long rows) {
  return (range){part * ROWS_EACH, MIN(rows, (part + 1) * ROWS_EACH)};
}

static inline void do_rows(team *t, long rows, long numbers, job *job, const void *of) {
  do_parts(worth(t, rows * numbers), (rows + ROWS_EACH - 1) / ROWS_EACH, job, of);
}

// Rows that the same weights read: all of x (rows, depth), or those that `at` lists.
typedef struct {
  const layer *w;
  const struct scratch *room;
  const float *x;
  const int *at;
  long rows;
  long expert;
} fed;

static WIDE void round_part(const void *of, long part, long member) {
  const fed *f = of;
  range some = rows_of(part, f->rows);
  round_to(f->w->rounds, f->room->rounded, f->x, f->at, some, f->rows, f->w->D);
}

// gate (F) = activation(gate) * up, rounded for the product behind it.
static WIDE void gate_part(const void *of, long part, long member) {
  const fed *f = of;
  long F = f->w->F;
  float *gate = f->room->gate;
  range some = rows_of(part, f->rows);
  for (long i = some.first; i < some.end; i++) {
    long row = f->at ? f->at[i] : i;
    activate(gate + row * F, f->room->up + row * F, F, f->w->is_gelu);
  }
  round_to(f->w->rounds, f->room->rounded, gate, f->at, some, f->rows, F);
}

// A feed-forward of rows that are rounded already; if `add`, it is added to what there is.
static WIDE void feed(fed f, target gate, target up, target down, int add) {
  const layer *w = f.w;
  target into[] = {gate, up};
  multiply_all((products){f.x, f.room->rounded, f.at, f.rows, w->D, into, 2, .by = f.room->by});
  do_rows(f.room->by.team, f.rows, w->F, gate_part, &f);
  multiply_all((products){f.room->gate, f.room->rounded, f.at, f.rows, w->F, &down, 1, .add = add,
                          .by = f.room->by});
}

// The share of each expert, as yet without what it makes.
static WIDE void share_part(const void *of, long part, long member) {
  const fed *f = of;
  const layer *w = f->w;
  range some = rows_of(part, f->rows);
  for (long i = some.first; i < some.end; i++) {
    share(f->room->shares + i * w->experts, w->experts, w->used, w->normed);
    for (long d = 0; d < w->D; d++) f->room->all_experts[i * w->D + d] = 0;
  }
}

static WIDE void mix_part(const void *of, long part, long member) {
  const fed *f = of;
  const layer *w = f->w;
  range some = rows_of(part, f->rows);
  for (long i = some.first; i < some.end; i++) {
    float *all = f->room->all_experts + f->at[i] * w->D, *one = f->room->expert + f->at[i] * w->D;
    float part_of = f->room->shares[f->at[i] * w->experts + f->expert];
    for (long d = 0; d < w->D; d++) all[d] += part_of * one[d];
  }
}

// room.all_experts (rows, D) = what the experts of each row make of x, summed in their order.
static WIDE void mix_experts(const float *x, long rows, const layer *w, const struct scratch *room) {
  long D = w->D, F = w->F;
  team *team = room->by.team;
  target router = {room->shares, w->router, w->experts};
  multiply_all((products){x, room->rounded, 0, rows, D, &router, 1, .by = room->by});
  fed all = {w, room, x, 0, rows};
  do_rows(team, rows, D, share_part, &all);
  for (long e = 0; e < w->experts; e++) {
    int at[GROUP];
    fed some = {w, room, x, at, 0, e};
    for (long i = 0; i < rows; i++)
      if (room->shares[i * w->experts + e] >= 0) at[some.rows++] = i;
    if (!some.rows) continue;
    if (w->rounds != EXACT) do_rows(team, some.rows, D, round_part, &some);
    feed(some, (target){room->gate, from_row(w->gate, e * F, D), F},
         (target){room->up, from_row(w->up, e * F, D), F},
         (target){room->expert, from_row(w->down, e * D, F), D}, 0);
    do_rows(team, some.rows, D, mix_part, &some);
  }
}
