// Draws of tokens from logits; the formula is `sampling/draws.py`. Knows no model.
//
// What is drawn is what the formula draws: where its rounding or ours might decide, nothing is.

#define BUCKETS 256    // into which candidates are sorted
#define MOST_EDGE 1024 // candidates of a bucket that are sorted further
// Of a sum of weights, more than rounding comes to. Rough weights are floats, and so is their x: at
// most 3.5e-6, as the sum of w |x| is at most 11 times that of w for 2^20 tokens. In doubles 1e-13.
#define ROUGH_MARGIN 4e-6
#define FINE_MARGIN 1e-10
#define MOST_ROUGH (1 << 20)
#define LEAST_GAP 1e-9 // of x / temperature, which the formula's weights tell apart
#define LOWEST 600     // -x / temperature, below which its weights may be equal

// The tokens whose logit is at least so high.
static WIDE void collect(draw *d, float least) {
  const float *logits = d->of->logits;
  list *to = &d->some;
  long count = 0;
  for (long s = 0; s < d->stretches; s++) {
    if (d->highest[s] < least) continue;
    long end = MIN(d->of->size, (s + 1) * STRETCH);
    for (long first = s * STRETCH; first < end; first += WIDTH) {
      if (first + WIDTH <= end && !__builtin_reduce_or(LOAD(logits + first) >= least)) continue;
      for (long i = first; i < MIN(end, first + WIDTH); i++) {
        to->ids[count] = i;
        to->logits[count] = logits[i];
        count += logits[i] >= least;
      }
    }
  }
  to->count = count;
}

// The lowest logit of a set, and how many of those equal to it belong there.
typedef struct {
  int is_known;
  float logit;
  long equals;
} edge;

// Highest first.
static void sort(float *logits, double *weights, long count) {
  for (long gap = count / 2; gap; gap = gap == 2 ? 1 : gap * 5 / 11)
    for (long i = gap; i < count; i++) {
      float logit = logits[i];
      double weight = weights[i];
      long to = i;
      for (; to >= gap && logits[to - gap] < logit; to -= gap) {
        logits[to] = logits[to - gap];
        weights[to] = weights[to - gap];
      }
      logits[to] = logit;
      weights[to] = weight;
    }
}

static inline long bucket_of(float logit, double top, double scale) {
  double bucket = (top - logit) * scale;
  return bucket < BUCKETS - 1 ? bucket : BUCKETS - 1;
}

// The edge of the smallest set of the highest whose weights reach a sum; without weights each is 1.
static edge find_edge(const float *logits, const double *weights, long count, double sum,
                      double margin) {
  double mass[BUCKETS] = {0}, before = 0, near_weights[MOST_EDGE], top = logits[0], least = top;
  float near[MOST_EDGE];
  for (long i = 1; i < count; i++) {
    top = MAX(top, logits[i]);
    if (logits[i] > -__builtin_inff()) least = MIN(least, logits[i]);
  }
  double scale = (BUCKETS - 1) / MAX(top - least, 1e-30);
  for (long i = 0; i < count; i++)
    mass[bucket_of(logits[i], top, scale)] += weights ? weights[i] : 1;
  long bucket = 0, found = 0;
  while (bucket < BUCKETS && before + mass[bucket] < sum) before += mass[bucket++];
  for (long i = 0; i < count; i++)
    if (bucket_of(logits[i], top, scale) == bucket) {
      if (found == MOST_EDGE) return (edge){0};
      near[found] = logits[i];
      near_weights[found++] = weights ? weights[i] : 1;
    }
  sort(near, near_weights, found);
  for (long i = 0, equals = 1; i < found; i++, equals++) {
    if (i && near[i] < near[i - 1]) equals = 1;
    double with = before + near_weights[i];
    if (with > sum + margin) return (edge){before < sum - margin, near[i], equals};
    before = with;
  }
  return (edge){0};
}

// Whether the formula tells the edge from its neighbours; below `open` there may be others.
static int is_clear(const list *some, edge at, float open, double temperature) {
  float above = __builtin_inff(), below = open;
  for (long i = 0; i < some->count; i++) {
    float logit = some->logits[i];
    if (logit > at.logit) above = MIN(above, logit);
    if (logit < at.logit) below = MAX(below, logit);
  }
  double least = LEAST_GAP * temperature;
  return (double)above - at.logit > least && (double)at.logit - below > least;
}

static void append(list *some, edge at) {
  long count = 0;
  for (long i = 0; i < some->count; i++) {
    float logit = some->logits[i];
    if (logit < at.logit || (logit == at.logit && at.equals-- <= 0)) continue;
    some->ids[count] = some->ids[i];
    some->logits[count] = logit;
    some->weights[count++] = some->weights[i];
  }
  some->count = count;
}

static int keep_top_k(draw *d) {
  double temperature = d->of->temperature, wanted = d->of->top_k;
  // As many stretches have a highest logit at least as high as theirs.
  edge at = find_edge(d->highest, 0, d->stretches, MIN(wanted, d->stretches) - 0.5, 0.25);
  double below = d->top - at.logit + 1e-6 * (temperature + __builtin_fabsf(at.logit));
  if (!at.is_known) return 0;
  for (d->some.count = 0; d->some.count < wanted; below *= 2) {
    if (below > LOWEST * temperature) return 0;
    collect(d, d->top - below);
  }
  float open = d->top - below / 2;
  at = find_edge(d->some.logits, 0, d->some.count, wanted - 0.5, 0.25);
  if (!at.is_known || !is_clear(&d->some, at, open, temperature)) return 0;
  append(&d->some, at);
  weigh(d->some.weights, d->some.logits, d->some.count, d);
  return 1;
}

// The smallest set of the most likely that reaches `top_p` of the sum, of those that are kept or of
// all.
static int keep_nucleus(draw *d, int of_all) {
  list *some = &d->some;
  double temperature = d->of->temperature, found = 0;
  double sum = of_all ? sum_of(d->sums, d->stretches) : sum_of(some->weights, some->count);
  double share = d->of->top_p * sum, margin = d->margin * sum;
  float open = -__builtin_inff();
  for (int octaves = 6; of_all && found <= share + margin; octaves += 3) {
    if (octaves > 45) return 0;
    open = d->top - octaves * 0.6931472 * temperature;
    collect(d, open);
    weigh(some->weights, some->logits, some->count, d);
    found = sum_of(some->weights, some->count);
  }
  edge at = find_edge(some->logits, some->weights, some->count, share, margin);
  if (!at.is_known || !is_clear(some, at, open, temperature)) return 0;
  append(some, at);
  return 1;
}

// The first place at which a running sum passes what is sought, or -1; `before` is the sum there.
static long pass(const double *weights, long count, double sought, double *before) {
  for (long i = 0; i < count; i++) {
    double with = *before + weights[i];
    if (with > sought) return i;
    *before = with;
  }
  return -1;
}

static int is_inside(double sought, double before, double weight, double margin) {
  return sought - before > margin && before + weight - sought > margin;
}

static long pick_kept(const list *some, double number) {
  double sum = sum_of(some->weights, some->count), before = 0;
  long at = pass(some->weights, some->count, number * sum, &before);
  if (at < 0 || !is_inside(number * sum, before, some->weights[at], FINE_MARGIN * sum)) return -1;
  return some->ids[at];
}

static long pick_of_all(const draw *d, double number) {
  float padded[STRETCH];
  double weights[STRETCH], sum = sum_of(d->sums, d->stretches), before = 0;
  long stretch = pass(d->sums, d->stretches, number * sum, &before);
  if (stretch < 0) return -1;
  weigh(weights, stretch_at(d, stretch, padded), STRETCH, d);
  long at = pass(weights, STRETCH, number * sum, &before);
  if (at < 0 || !is_inside(number * sum, before, weights[at], d->margin * sum)) return -1;
  return stretch * STRETCH + at;
}

// One number in [0, 1): Philox4x64-10.
static double uniform(unsigned long seed, unsigned long index, unsigned long position) {
  unsigned long x[4] = {position + 1}, key[2] = {seed, index};
  for (int round = 0; round < 10; round++) {
    unsigned __int128 low = (unsigned __int128)x[0] * 0xD2E7470EE14C6C93;
    unsigned __int128 high = (unsigned __int128)x[2] * 0xCA5A826395121157;
    x[0] = (unsigned long)(high >> 64) ^ x[1] ^ key[0];
    x[2] = (unsigned long)(low >> 64) ^ x[3] ^ key[1];
    x[1] = high;
    x[3] = low;
    key[0] += 0x9E3779B97F4A7C15;
    key[1] += 0xBB67AE8584CAA73B;
  }
  return (x[0] >> 11) * 0x1p-53;
}

// The token, or -1 where a margin hides it.
static long choose(draw *d) {
  const request *of = d->of;
  int filters = of->top_k && of->top_k < of->size, nucleus = of->top_p < 1;
  if (filters && !keep_top_k(d)) return -1;
  if (nucleus && !keep_nucleus(d, !filters)) return -1;
  double number = uniform(of->seed, of->index, of->position);
  return filters || nucleus ? pick_kept(&d->some, number) : pick_of_all(d, number);
}

static long most_likely(const draw *d) {
  long s = 0;
  while (d->highest[s] < d->top) s++;
  long i = s * STRETCH;
  while (d->of->logits[i] < d->top) i++;
  return i;
}

static void draw_one(request *of) {
  if (!of->size) return;
  long stretches = (of->size + STRETCH - 1) / STRETCH, room = (stretches + 1) * STRETCH;
  double temperature = of->temperature;
  draw d = {of, .stretches = stretches, .factor = OCTAVES / temperature};
  d.some.weights = (double *)of->room;
  d.sums = d.some.weights + room;
  d.whole = (unsigned long *)(d.sums + stretches);
  d.some.logits = (float *)(d.whole + stretches);
  d.some.ids = (int *)(d.some.logits + room);
  d.highest = (float *)(d.some.ids + room);
  of->top = d.top = find_highest(&d);
  of->token = -1;
  if (!(d.top - d.top == 0)) return; // NaN or infinity
  int serves = temperature >= 1e-3 && temperature <= 1e6 && of->size <= MOST_ROUGH;
  kind_of_sums kind = temperature == 1 ? WHOLE : ROUGH;
  if (!serves || (of->top_k && of->top_k < of->size)) kind = NONE;
  unsigned __int128 total = sum_stretches(&d, kind);
  of->total[0] = total;
  of->total[1] = total >> 64;
  if (temperature == 0) of->token = most_likely(&d);
  if (!serves) return;
  double rounding = of->size * 0.5 / (1L << BITS); // of whole weights
  d.margin = FINE_MARGIN + (kind == ROUGH ? ROUGH_MARGIN : kind == WHOLE ? rounding : 0);
  of->token = choose(&d);
  if (of->token >= 0 || kind == NONE) return;
  sum_stretches(&d, FINE);
  d.margin = FINE_MARGIN;
  of->token = choose(&d);
}
