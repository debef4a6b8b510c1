// Vectors of one processor or another: their width, sums and exponentials. Knows no model.
//
// This folder holds the operations that take nearly all the time, for tinygrad's CPU device.
// `kernels.py` joins the rooms in the order of its `C_ROOMS`. It
// puts the sizes and the block formats (`nn/formats`) before them, and the entry function behind.
// Each has its formula in `nn/ops`, `nn/blocks`, `nn/stored` or `nn/formats`. Draws of tokens are
// joined by `draws.py`, without those rooms that know weights.
//
// Every row is summed in one fixed order, whatever the number of rows; so a candidate's numbers are
// the same bits alone and in any batch.
//
// GROUP rows go through a product or a layer together, so that all stays near; the scores of
// QUERY_ROWS rows are held at a time. These two and MOST_COLUMNS are defined by `kernels.py`, which
// makes room by them.

// WIDTH, the floats of a vector, and the sizes of tiles stand in the table of `instructions.py`.
// QUADS(f): f(i) for the first lane i of each four lanes.
#if WIDTH == 16
#define QUADS(f) f(0), f(4), f(8), f(12)
#elif WIDTH == 8
#define QUADS(f) f(0), f(4)
#else
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

// tanh(x), within 1e-7.
static inline WIDE vec vtanh(vec x) {
  vec e = vexp(-2 * __builtin_elementwise_abs(x)), t = (1 - e) / (1 + e);
  return x < 0 ? -t : t;
}

// exp only of what is not positive, so that nothing overflows.
static inline WIDE vec vsigmoid(vec x) {
  vec e = vexp(-__builtin_elementwise_abs(x));
  return (x < 0 ? e : (vec)1.0f) / (1 + e);
}

// log(1 + exp(x)): what is above zero of x, and log(1 + u) as a series of u / (2 + u), at most 1 / 3.
static inline WIDE vec vsoftplus(vec x) {
  vec u = vexp(-__builtin_elementwise_abs(x)), s = u / (2 + u), z = s * s, p = 1 / 15.0f;
  UNROLL for (int n = 13; n > 0; n -= 2) p = p * z + 1 / (float)n;
  return (x > 0 ? x : (vec)0.0f) + 2 * s * p;
}

// Both activations are x sigmoid(z): of silu z is x, and of the GELU by tanh it is twice what stands
// in the tanh.
static inline WIDE vec activated(vec x, int is_gelu) {
  return x * vsigmoid(is_gelu ? 1.59576912f * (x + 0.044715f * x * x * x) : x);
}

// The first lanes of a vector, where memory ends behind them; the others are 0.
static inline WIDE vec load(const float *p, long lanes) {
  if (lanes >= WIDTH) return LOAD(p);
  float some[WIDTH] = {0};
  for (long i = 0; i < lanes; i++) some[i] = p[i];
  return LOAD(some);
}

static inline WIDE void store(float *p, vec v, long lanes) {
  if (lanes >= WIDTH) STORE(p, v);
  else
    for (long i = 0; i < lanes; i++) p[i] = v[i];
}

// Sixteen of a kind, in which blocks are unpacked; a half's products with a few bits are exact.
typedef unsigned char octets __attribute__((ext_vector_type(16), aligned(1)));
typedef signed char signed_octets __attribute__((ext_vector_type(16), aligned(1)));
typedef float floats __attribute__((ext_vector_type(16), aligned(4)));
typedef _Float16 halves __attribute__((ext_vector_type(16), aligned(2)));
typedef unsigned short shorts __attribute__((ext_vector_type(16), aligned(2)));
typedef unsigned int words __attribute__((ext_vector_type(16), aligned(4)));
#define FLOATS(b) __builtin_convertvector(b, floats)

// Floats of 16 bits to floats, which is exact, and back: to the nearest, ties to even.
#if defined(__x86_64__) && !defined(__F16C__)
static inline WIDE floats floats_of(shorts h) {
  words bits = __builtin_convertvector(h, words), shifted = (bits & 0x7fff) << 13;
  floats y = *(floats *)&shifted * 0x1p112f; // the other bias of exponents
  words x = *(words *)&y, sign = (bits & 0x8000) << 16;
  x = (x < 0x47800000 ? x : x | 0x7f800000) | sign; // infinity and NaN have the last exponent
  return *(floats *)&x;
}

static inline WIDE shorts halves_of(floats f) {
  words bits = *(words *)&f, sign = (bits >> 16) & 0x8000, x = bits & 0x7fffffff;
  floats small = *(floats *)&x + 0.5f; // its last bit is worth as much as that of the smallest halves
  words y = (x - (112 << 23) + 0xfff + ((x >> 13) & 1)) >> 13;
  y = x < 0x38800000 ? *(words *)&small - 0x3f000000 : y;
  y = x < 0x477ff000 ? y : (words)0x7c00;
  y = x > 0x7f800000 ? (words)0x7e00 : y;
  return __builtin_convertvector(y | sign, shorts);
}
#else
static inline WIDE floats floats_of(shorts h) { return FLOATS(*(halves *)&h); }

static inline WIDE shorts halves_of(floats f) {
  halves h = __builtin_convertvector(f, halves);
  return *(shorts *)&h;
}
#endif
