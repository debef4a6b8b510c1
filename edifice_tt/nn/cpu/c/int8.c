// Products in whole numbers: activations rounded to 8 bits, weights of up to 8 bits as they are.
//
// Sums within 32 weights, or 16 that have a scale of their own, are exact. The scales are applied one
// after the other in float32, a lane being a column of the weight; so here, too, a row is the same
// bits alone and in any batch.

// What adds products of 4 neighbouring bytes to the 32 bits of their lane: q (0 .. 255) times x, or where
// OFFSET is 0 signed q.
#if defined(__ARM_FEATURE_DOTPROD)
#define OFFSET 0
#else
#define OFFSET 128
#endif

typedef unsigned char quads __attribute__((ext_vector_type(4 * WIDTH), aligned(4)));
typedef unsigned int uvec __attribute__((ext_vector_type(WIDTH), aligned(4)));
typedef short pairs __attribute__((ext_vector_type(2 * WIDTH), aligned(4)));
typedef _Float16 hvec __attribute__((ext_vector_type(WIDTH), aligned(2)));
typedef signed char cvec __attribute__((ext_vector_type(WIDTH), aligned(1)));
typedef unsigned char ubvec __attribute__((ext_vector_type(WIDTH), aligned(1)));
typedef unsigned short usvec __attribute__((ext_vector_type(WIDTH), aligned(2)));

#if defined(__AVX512BW__)
#define PAIRS __builtin_ia32_pmaddubsw512
#define ADD_PAIRS __builtin_ia32_pmaddwd512
#elif defined(__AVX2__) && WIDTH == 8
#define PAIRS __builtin_ia32_pmaddubsw256
#define ADD_PAIRS __builtin_ia32_pmaddwd256
#endif

static inline WIDE ivec dot(ivec sum, quads q, const signed char *x, int bits) {
  ivec same = *(const int *)x;
#if defined(__AVX512VNNI__)
  return __builtin_ia32_vpdpbusd512(sum, (ivec)q, same);
#elif defined(__ARM_FEATURE_DOTPROD)
  __asm__("sdot %0.4s, %1.16b, %2.16b" : "+w"(sum) : "w"(q), "w"(same));
  return sum;
#elif defined(PAIRS)
  // Two products of 8 bits would not fit into the 16 bits that they are added in; of 7 they do.
  quads low = bits == 8 ? q & 15 : q;
  sum += ADD_PAIRS((pairs)PAIRS(low, (quads)same), (pairs)(short)1);
  if (bits == 8) sum += ADD_PAIRS((pairs)PAIRS((quads)(q >> 4), (quads)same), (pairs)(short)1) << 4;
  return sum;
#else
  UNROLL for (int i = 0; i < 4; i++) sum += (ivec)((uvec)q >> 8 * i & 255) * x[i];
  return sum;
#endif
}

// A scale for each 256, with which K-quants could be summed a block at a time, was tried on SmolLM2: five
// times as far from float32, by the mean KL divergence.
typedef struct { // 32 activations: x times the scale; sums of the first and last 16 and of all x
  signed char x[32];
  float scale, sum[3];
} rounded;
_Static_assert(sizeof(rounded) == ROUNDED_BYTES, "room for rounded activations");

// to (depth / 32, rows): some rows of x (rows, depth), or of those that `at` lists, rounded to the
// nearest of -127 .. 127 times a scale, half to even. What is all but zero becomes zero.
static WIDE void round_rows(rounded *to, const float *x, const int *at, range some, long rows,
                            long depth) {
// A fused product and sum would round another way than other processors do.
#pragma STDC FP_CONTRACT OFF
  for (long m = some.first; m < some.end; m++) {
    const float *from = x + (at ? at[m] : m) * depth;
    for (long b = 0; b < depth / 32; b++, from += 32) {
      rounded *r = to + b * rows + m;
      ivec top = 0; // floats without their sign are ordered as integers; NaN is the top
      UNROLL for (int i = 0; i < 32; i += WIDTH)
        top = __builtin_elementwise_max(top, *(const ivec *)(from + i) & 0x7fffffff);
      int bits = __builtin_reduce_max(top);
      float most;
      __builtin_memcpy(&most, &bits, sizeof most);
      float inverse = most > 1e-30f ? 127 / most : 0;
      ivec part[2] = {0, 0};
      UNROLL for (int i = 0; i < 32; i += WIDTH) {
        vec scaled = LOAD(from + i) * inverse;
        vec shifted = scaled + 12582912.0f; // 1.5 * 2^23: the bits behind the point are rounded off
        ivec whole = __builtin_convertvector(shifted - 12582912.0f, ivec);
        *(cvec *)(r->x + i) = __builtin_convertvector(whole, cvec);
        part[i / 16] += whole;
      }
      r->scale = most / 127;
      for (int i = 0; i < 2; i++) r->sum[i] = __builtin_reduce_add(part[i]);
      r->sum[2] = r->sum[0] + r->sum[1];
    }
  }
}

// What the formats are written in (`weights.c`), now for columns c .. c + WIDTH of a group from p on:
// of the 16 weights of each column those from 4 j to 4 j + 3.
#undef CONVERT
#undef AS_FLOATS
#undef BYTES
#undef BITS
#undef BYTE
#undef SHORT
#undef WORD
#undef HALF_AT
#undef SIGNED
#undef CHOSEN
#define COLUMNS(at, of) (*(const of *)(p + 16 * (at) + c * sizeof(of) / WIDTH))
#define CONVERT(x) __builtin_convertvector(x, vec)
#define AS_FLOATS(x) ((vec)(x))
#define BYTES(at) COLUMNS((at) + 4 * j, quads)
#define BITS(at) \
  ((quads)((WORD((at) + s / 2 * 4) >> (s % 2 * 16 + 4 * j) & 15) * 0x00204081) & 1)
#define BYTE(at) __builtin_convertvector(COLUMNS(at, ubvec), uvec)
#define SHORT(at) __builtin_convertvector(COLUMNS(at, usvec), uvec)
#define WORD(at) COLUMNS(at, uvec)
#define HALF_AT(at) CONVERT(COLUMNS(at, hvec))
#define SIGNED(at) CONVERT((ivec)(WORD((at) + s / 4 * 4) << (24 - s % 4 * 8)) >> 24)
#define CHOSEN(index, ...) chosen_quads((octets)(signed_octets){__VA_ARGS__}, index)

static inline WIDE quads chosen_quads(octets table, quads index) {
  octets part[WIDTH / 4];
#if defined(__AVX512BW__)
  UNROLL for (int i = 0; i < WIDTH / 4; i++) part[i] = table;
  return __builtin_ia32_pshufb512(*(quads *)part, index);
#else
  *(quads *)part = index;
  UNROLL for (int i = 0; i < WIDTH / 4; i++) part[i] = chosen(table, part[i]);
  return *(quads *)part;
#endif
}

// The weights number 16 s .. 16 s + 15 of a block, of WIDTH columns, and their scales and minima.
typedef struct {
  quads q[4];
  vec scale, minimum;
} sixteen;
_Static_assert(sizeof(sixteen) <= MOST_COLUMNS * WIDTH * 4, "room for 16 numbers of 16 columns");

static inline __attribute__((always_inline)) WIDE sixteen
read_sixteen(const unsigned char *p, int c, int s, kind kind) {
  sixteen w;
  switch (kind) {
#define READ(name, bytes, weights, bits, ...) \
  case name##_grouped: \
    UNROLL for (int j = 0; j < 4; j++) w.q[j] = (quads)(NUMBER_##name) ^ (bits == 8 ? OFFSET : 0); \
    w.scale = SCALE_##name, w.minimum = MINIMUM_##name; \
    break;
    GROUPED(READ)
  default: break;
  }
  return w;
}

// A group's weights in the order in which a tile reads them.
static inline __attribute__((always_inline)) WIDE void
unpack_group(sixteen *to, const unsigned char *w, long depth, kind kind, grouping g) {
  for (int c = 0; c < 16; c += WIDTH)
    for (const unsigned char *p = w; p < w + depth / g.weights * 16 * g.bytes; p += 16 * g.bytes)
      UNROLL for (int s = 0; s < g.weights / 16; s++) *to++ = read_sixteen(p, c, s, kind);
}

// One tile: out[i][0 .. 16] = x[i] . w for the 16 columns of a group, or of what `unpack_group` made
// of it; x's blocks are `stride` apart. Meanwhile the weights that are `next` come nearer; where none
// are, a single tile streams the weight, and what is read next comes nearer as it goes.
static inline __attribute__((always_inline)) WIDE void
whole_tile(float *const *out, const rounded *x, long stride, const unsigned char *w,
           const sixteen *unpacked, long depth, kind kind, grouping g, int add, ahead *next,
           int rows) {
  float off = g.offset + (g.bits == 8 ? OFFSET : 0);
  for (int c = 0; c < 16; c += WIDTH) {
    const unsigned char *p = w;
    const rounded *xb = x;
    vec a[MOST_ROWS];
    UNROLL for (int i = 0; i < rows; i++) a[i] = 0;
    for (long k = 0; k < depth; k += g.weights, p += 16 * g.bytes) {
      if (k % 256 == 0 && c == 0 && next) fetch_share(next);
      UNROLL for (int b = 0; b < g.weights / 32; b++, xb += stride) {
        long size = 16 * g.bytes * 32 / g.weights;
        if (c == 0 && !next) fetch_far(p + b * size, size);
        vec y[MOST_ROWS];
        ivec s[MOST_ROWS];
        UNROLL for (int half = 0; half < 2; half++) {
          sixteen w = unpacked ? *unpacked++ : read_sixteen(p, c, 2 * b + half, kind);
          int begins = half == 0 || g.run == 16, ends = half == 1 || g.run == 16;
          UNROLL for (int i = 0; i < rows && begins; i++) s[i] = 0;
          UNROLL for (int j = 0; j < 4; j++)
            UNROLL for (int i = 0; i < rows; i++)
              s[i] = dot(s[i], w.q[j], xb[i].x + 16 * half + 4 * j, g.bits);
          UNROLL for (int i = 0; i < rows && ends; i++) {
            float sum = xb[i].sum[g.run == 16 ? half : 2];
            vec all = CONVERT(s[i]);
            // Without a minimum what is in brackets is a whole number below 2^24: exact.
            all = g.has_minimum ? all * w.scale + w.minimum * sum : (all - off * sum) * w.scale;
            y[i] = half && g.run == 16 ? y[i] + all : all;
          }
        }
        UNROLL for (int i = 0; i < rows; i++) a[i] += y[i] * xb[i].scale;
      }
    }
    UNROLL for (int i = 0; i < rows; i++) STORE(out[i] + c, add ? LOAD(out[i] + c) + a[i] : a[i]);
  }
}
