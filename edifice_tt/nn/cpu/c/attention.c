// Attention: each of the queries (count, E) over a shared prefix and over memories of their own.

// How scores become weights: softmax of scale times a score, which a cap (0: none) keeps small, over
// the last `window` positions (0: all).
typedef struct {
  float scale, cap;
  long window;
} weighting;

// p[s] = exp(score of p[s]) / their sum, for s < count. What stands behind them up to a whole vector
// is overwritten.
static WIDE void softmax(float *p, long count, weighting by) {
  float top = -1e30f;
  vec tops = top;
  ivec lanes;
  UNROLL for (int i = 0; i < WIDTH; i++) lanes[i] = i;
  for (long s = 0; s < count; s += WIDTH) {
    vec scaled = LOAD(p + s) * by.scale;
    if (by.cap) scaled = vtanh(scaled / by.cap) * by.cap;
    // The last vector is filled up with what exp makes next to nothing of.
    if (count - s < WIDTH) scaled = lanes < (int)(count - s) ? scaled : (vec)-1e30f;
    STORE(p + s, scaled);
    tops = scaled > tops ? scaled : tops;
  }
  for (int i = 0; i < WIDTH; i++) top = tops[i] > top ? tops[i] : top;
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
static WIDE void mix_of(float *const *out, const float *p, long width, long count, numbers of,
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
          const float *v = of.at + s * of.stride + e;
          if (of.is_far && i == 0)
            fetch((const kept *)(v + AHEAD * of.stride), s + AHEAD < positions, 0, 4 * WIDTH);
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
          for (long f = 0; f < E - e; f++) op[r][f] += pp[r][s] * of.at[s * of.stride + e + f];
    }
}

static WIDE void mix(float *const *out, const float *p, long width, long count, memory at,
                     long positions, long E) {
  float room[TOGETHER * E];
  for (long s = 0, some; s < positions; s += some) {
    some = MIN(together(at.stride, count), positions - s);
    numbers values = as_floats(at.values + s * at.stride, at.stride, some, positions - s, E, room);
    mix_of(out, p + s, width, count, values, some, E);
  }
}

// The first position that the last of so many sees.
static inline long first_of(weighting by, long positions) {
  return by.window ? MAX(0, positions - by.window) : 0;
}

// q, out (rows, H, E). Row i attends to the first `shared` positions of the prefix and to the first
// seen[i] of its own memory, that of batch row batch[i]. Rows of one batch row stand together, and
// see more from one to the next. `p` has room for QUERY_ROWS H/K scores of each member, as wide as
// `width`, a multiple of WIDTH, and with a window by a whole vector wider than all positions.
typedef struct {
  float *out;
  const float *q;
  long rows, H, K, E;
  const kept *prefix;
  long prefix_room, shared;
  const kept *own;
  long own_room, own_batch;
  const int *batch, *seen;
  weighting by;
  float *p;
  long width;
} attention;

static inline long blocks_of(long rows) { return (rows + QUERY_ROWS - 1) / QUERY_ROWS; }

// Some rows, and the heads that read the same keys.
static WIDE void attend_part(const void *of, long part, long member) {
  attention a = *(const attention *)of;
  long E = a.E, rep = a.H / a.K, of_head = KEPT(E), stride = a.K * of_head, width = a.width, shared = a.shared;
  // Rows of several texts read each its own memory, which then stays near for the next head; rows of
  // one text read the same, and a head's stays near for the next rows.
  long blocks = blocks_of(a.rows), several = a.batch[0] != a.batch[a.rows - 1];
  long g = several ? part % a.K : part / blocks;
  long first = (several ? part / a.K : part % blocks) * QUERY_ROWS;
  float *p = a.p + member * QUERY_ROWS * rep * width;
  long count = MIN(QUERY_ROWS, a.rows - first);
  query qs[QUERY_ROWS * rep];
  rounded whole[QUERY_ROWS * rep * ASKED(E) + 1];
  float *outs[QUERY_ROWS * rep];
  for (long i = 0; i < count * rep; i++) {
    long at = ((first + i / rep) * a.H + g * rep + i % rep) * E;
    qs[i] = asked(whole + i * ASKED(E), a.q + at, E);
    outs[i] = a.out + at;
    for (long e = 0; e < E; e++) outs[i][e] = 0;
  }
  // The first position of the text that any of these rows sees; before it nothing is read.
  long low = shared + a.seen[first];
  for (long i = 0; i < count; i++) low = MIN(low, first_of(a.by, shared + a.seen[first + i]));
  memory common = {0};
  if (low < shared) {
    const kept *near = a.prefix + low * stride + g * of_head;
    common = (memory){near, near + a.prefix_room * stride, stride};
  }
  if (low < shared) scores(p + low, width, qs, count * rep, common, shared - low, E);
  for (int pass = 0; pass < 2; pass++) {
    if (pass && low < shared)
      mix(outs, p + low, width, count * rep, common, shared - low, E);
    for (long i = 0, end; i < count; i = end) {
      for (end = i + 1; end < count && a.batch[first + end] == a.batch[first + i];) end++;
      // What this memory holds before the first position that its rows see is not read either.
      long skip = MAX(0, first_of(a.by, shared + a.seen[first + i]) - shared);
      long queries = (end - i) * rep, most = a.seen[first + end - 1] - skip, at = shared + skip;
      const kept *base = a.own + (a.batch[first + i] * a.own_room + skip) * stride + g * of_head;
      memory tail = {base, base + a.own_batch * a.own_room * stride, stride};
      float *row = p + i * rep * width;
      if (pass) {
        mix(outs + i * rep, row + at, width, queries, tail, most, E);
        continue;
      }
      // What a row alone attends to comes from far: its values, and the keys of the next row.
      fetch(tail.values, most, stride, of_head);
      if (end < count) {
        long further = (a.batch[first + end] - a.batch[first + i]) * a.own_room * stride;
        fetch(tail.keys + further, a.seen[first + end], stride, of_head);
      }
      scores(row + at, width, qs + i * rep, queries, tail, most, E);
      for (long n = 0; n < queries; n++) {
        float *scored = row + n * width;
        long stop = shared + a.seen[first + i + n / rep], start = first_of(a.by, stop);
        softmax(scored + start, stop - start, a.by);
        for (long s = low; s < start; s++) scored[s] = 0;
        for (long s = stop; s < at + most; s++) scored[s] = 0;
      }
    }
  }
}

static WIDE void attend(attention a, team *t) {
  long numbers = a.rows * a.H * a.E * (a.shared + a.seen[a.rows - 1]);
  do_parts(t && numbers > t->least ? t : 0, a.K * blocks_of(a.rows), attend_part, &a);
}
