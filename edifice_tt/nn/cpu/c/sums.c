// Sums of the weights of logits, for draws. Knows no draw.
//
// The weight of a token is exp(x / temperature), x being its logit less the highest.

#define DOUBLES (WIDTH / 2)
typedef double dvec __attribute__((ext_vector_type(DOUBLES), aligned(8)));
typedef unsigned long lvec __attribute__((ext_vector_type(DOUBLES), aligned(8)));
typedef float single_vec __attribute__((ext_vector_type(DOUBLES), aligned(4)));

typedef struct { // as `draws.py` writes it
  const float *logits;
  long size;
  char *room;
  double temperature, top_p;
  long top_k;
  unsigned long seed, index, position;
  long token;             // that is drawn, or -1
  unsigned long total[2]; // of whole weights at temperature 1, the low half first
  double top;             // the highest logit
  team *team;             // whose threads share the logits, or none
} request;

typedef struct { // tokens in the order of their ids
  int *ids;
  float *logits;
  double *weights;
  long count;
} list;

typedef enum { NONE, WHOLE, ROUGH, FINE } kind_of_sums;

typedef struct {
  const request *of;
  float top, *highest;  // of all logits, and of each stretch
  double *sums;         // of the weights of each stretch
  unsigned long *whole; // the same as whole numbers, at temperature 1
  kind_of_sums kind;    // of what `sums` are made
  long stretches;
  double factor; // of x, to sixteenths of an octave of its weight
  double margin; // of the sum of all, in which rounding might decide
  list some;     // of tokens; there is room for all
} draw;

static inline const float *stretch_at(const draw *d, long stretch, float *padded) {
  const float *logits = d->of->logits + stretch * STRETCH;
  long left = d->of->size - stretch * STRETCH;
  if (left >= STRETCH) return logits;
  for (long i = 0; i < STRETCH; i++) padded[i] = i < left ? logits[i] : -__builtin_inff();
  return padded;
}

// What a part does to its stretches; a team shares them, since no sum goes beyond a stretch.
static void do_stretches(const draw *d, job *job) {
  do_parts(d->of->team, (d->stretches + PART - 1) / PART, job, d);
}

#define EACH_STRETCH(s) \
  for (long s = part * PART; s < MIN(d->stretches, (part + 1) * PART); s++)

// The highest logit of each stretch; NaN if there is one.
static WIDE void highest_part(const void *of, long part, long member) {
  const draw *d = of;
  float padded[STRETCH], lanes[WIDTH];
  EACH_STRETCH(s) {
    const float *logits = stretch_at(d, s, padded);
    vec most = LOAD(logits);
    ivec odd = 0;
    for (long i = 0; i < STRETCH; i += WIDTH) {
      vec some = LOAD(logits + i);
      most = some > most ? some : most;
      odd |= some != some;
    }
    STORE(lanes, most);
    for (int half = WIDTH / 2; half; half /= 2)
      for (int i = 0; i < half; i++) lanes[i] = MAX(lanes[i], lanes[i + half]);
    d->highest[s] = __builtin_reduce_or(odd) ? __builtin_nanf("") : lanes[0];
  }
}

// The highest logit; NaN if there is one.
static float find_highest(const draw *d) {
  float top = -__builtin_inff();
  do_stretches(d, highest_part);
  for (long s = 0; s < d->stretches; s++) {
    if (d->highest[s] != d->highest[s]) return d->highest[s];
    top = MAX(top, d->highest[s]);
  }
  return top;
}

// 2^(BITS + n / 16) as bits, less those that n << 48 adds.
static const unsigned long POWERS[16] __attribute__((aligned(LINE))) = {SIXTEENTHS};

static inline WIDE lvec powers(lvec n) {
#if WIDTH == 16
  typedef long eight __attribute__((vector_size(64)));
  const eight *table = (const eight *)POWERS;
  return (lvec)__builtin_ia32_vpermi2varq512(table[0], (eight)n, table[1]) + (n << 48);
#else
  lvec found;
  UNROLL for (int i = 0; i < DOUBLES; i++) found[i] = POWERS[n[i] & 15];
  return found + (n << 48);
#endif
}

// 2^(BITS + octaves + t / 16), t <= 0, by the nearest whole sixteenth and a polynomial. No product is joined to
// a sum, so that the formula, in `nn/exponentials`, has the same bits.
static inline WIDE dvec power(dvec t, double octaves) {
#pragma STDC FP_CONTRACT OFF
  t = t < LEAST ? (dvec)LEAST : t;
  double shift = SHIFT + 16 * octaves;
  dvec shifted = t + shift, r = t - (shifted - shift), p = C5;
  p = p * r + C4;
  p = p * r + C3;
  p = p * r + C2;
  p = p * r + C1;
  p = p * r + 1;
  lvec scale = powers(*(lvec *)&shifted);
  return *(dvec *)&scale * p;
}

static double sum_of(const double *weights, long count) {
  double sum = 0;
  for (long i = 0; i < count; i++) sum += weights[i];
  return sum;
}

static WIDE void weigh(double *weights, const float *logits, long count, const draw *d) {
  for (long i = 0; i < count; i += DOUBLES) {
    dvec x = __builtin_convertvector(*(const single_vec *)(logits + i), dvec) - (double)d->top;
    *(dvec *)(weights + i) = power(x * d->factor, -BITS);
  }
}

// At temperature 1, as whole numbers, a weight of 1 being 2^BITS. No order of summation changes a bit.
static inline WIDE unsigned long whole_sum(const float *logits, const draw *d) {
  lvec whole = 0;
  double top = d->top, shift = SHIFT;
  for (long i = 0; i < STRETCH; i += DOUBLES) {
    dvec x = __builtin_convertvector(*(const single_vec *)(logits + i), dvec) - top;
    dvec shifted = power(x * OCTAVES, 0) + shift;
    whole += *(lvec *)&shifted;
  }
  unsigned long sum = 0;
  for (int i = 0; i < DOUBLES; i++) sum += whole[i];
  return sum - *(unsigned long *)&shift * STRETCH;
}

// At the temperature, each weight within 4e-7 and what rounding does to its x.
static inline WIDE float rough_sum(const float *logits, const draw *d) {
  float octaves = 1.44269504f / (float)d->of->temperature;
  vec sums = 0;
  for (long i = 0; i < STRETCH; i += WIDTH) {
    vec t = (LOAD(logits + i) - d->top) * octaves;
    t = t < -120 ? (vec)-120 : t;
    vec shifted = t + 0x1.8p23f, r = t - (shifted - 0x1.8p23f), p = 0.00133813025f;
    p = p * r + 0.00966636852f;
    p = p * r + 0.0555038101f;
    p = p * r + 0.24022349f;
    p = p * r + 0.693147181f;
    p = p * r + 1;
    ivec weights = *(ivec *)&p + (*(ivec *)&shifted << 23);
    sums += *(vec *)&weights;
  }
  return sum(sums);
}

// The sums of each stretch, and but for fine ones the whole sums.
static WIDE void sum_part(const void *of, long part, long member) {
  const draw *d = of;
  float padded[STRETCH];
  double weights[STRETCH], unit = 1.0 / (1L << BITS);
  EACH_STRETCH(s) {
    const float *logits = stretch_at(d, s, padded);
    if (d->kind != FINE) d->whole[s] = whole_sum(logits, d);
    if (d->kind == WHOLE) d->sums[s] = d->whole[s] * unit;
    if (d->kind == ROUGH) d->sums[s] = rough_sum(logits, d);
    if (d->kind == FINE) {
      weigh(weights, logits, STRETCH, d);
      d->sums[s] = sum_of(weights, STRETCH);
    }
  }
}

// The sum of all whole weights; and the sums of stretches, of that kind.
static unsigned __int128 sum_stretches(draw *d, kind_of_sums kind) {
  unsigned __int128 total = 0;
  d->kind = kind;
  do_stretches(d, sum_part);
  for (long s = 0; s < d->stretches; s++) total += d->whole[s];
  return total;
}
