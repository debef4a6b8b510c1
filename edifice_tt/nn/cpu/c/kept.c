// Keys and values as they are kept: KEPT_BITS a number, as `kernels.py` defines it.
//
// KEPT(E): how many `kept` a head of E numbers takes.

#if KEPT_BITS == 16
#define KEPT(E) (E)
typedef unsigned short kept;

static inline WIDE void widen(float *out, const kept *from, long size) {
  long k = 0;
  for (; k + 16 <= size; k += 16) *(floats *)(out + k) = floats_of(*(const shorts *)(from + k));
  for (; k < size; k++) out[k] = floats_of((shorts)from[k])[0];
}

// What is beyond the largest half is kept as that, and what is no number as such.
static inline WIDE shorts kept_of(floats f) {
  const floats most = (floats)65504.0f;
  f = f > most ? most : f;
  return halves_of(f < -most ? -most : f);
}

static inline WIDE void narrow(kept *out, const float *from, long size) {
  long k = 0;
  for (; k + 16 <= size; k += 16) *(shorts *)(out + k) = kept_of(*(const floats *)(from + k));
  for (; k < size; k++) out[k] = kept_of((floats)from[k])[0];
}
#elif KEPT_BITS == 8
// Behind its numbers a head has a scale for each SCALED of them: the upper half of a float, rounded
// up, so that no number is beyond 127 times it.
#define SCALED 32
#define KEPT(E) ((E) + 2 * (((E) + SCALED - 1) / SCALED))
typedef signed char kept;

static inline float scale_at(const kept *head, long size, long k) {
  unsigned short upper;
  __builtin_memcpy(&upper, head + size + k / SCALED * 2, sizeof upper);
  unsigned bits = (unsigned)upper << 16;
  float scale;
  __builtin_memcpy(&scale, &bits, sizeof scale);
  return scale;
}

static inline WIDE void widen(float *out, const kept *from, long size) {
  long k = 0;
  for (; k + 16 <= size; k += 16)
    *(floats *)(out + k) = FLOATS(*(const signed_octets *)(from + k)) * scale_at(from, size, k);
  for (; k < size; k++) out[k] = from[k] * scale_at(from, size, k);
}

static WIDE void narrow(kept *out, const float *from, long size) {
// A fused product and sum would round another way than other processors do.
#pragma STDC FP_CONTRACT OFF
  for (long k = 0; k < size; k += SCALED) {
    float x[SCALED] = {0};
    kept whole[SCALED];
    long some = MIN(SCALED, size - k);
    for (long i = 0; i < some; i++) x[i] = from[k + i];
    ivec top = 0; // floats without their sign are ordered as integers; NaN is the top
    for (long i = 0; i < SCALED; i += WIDTH)
      top = __builtin_elementwise_max(top, *(const ivec *)(x + i) & 0x7fffffff);
    int bits = __builtin_reduce_max(top);
    float most;
    __builtin_memcpy(&most, &bits, sizeof most);
    most /= 127;
    __builtin_memcpy(&bits, &most, sizeof bits);
    unsigned short upper = most != most ? 0x7fc0 : ((unsigned)bits + 0xffff) >> 16;
    __builtin_memcpy(out + size + k / SCALED * 2, &upper, sizeof upper);
    float scale = scale_at(out, size, k), inverse = scale > 1e-30f ? 1 / scale : 0;
    for (long i = 0; i < SCALED; i += WIDTH) {
      vec scaled = LOAD(x + i) * inverse;
      vec shifted = scaled + 12582912.0f; // 1.5 * 2^23: the bits behind the point are rounded off
      *(cvec *)(whole + i) =
          __builtin_convertvector(__builtin_convertvector(shifted - 12582912.0f, ivec), cvec);
    }
    for (long i = 0; i < some; i++) out[k + i] = whole[i];
  }
}
#else
#define KEPT(E) (E)
typedef float kept;

static inline WIDE void widen(float *out, const kept *from, long size) {
  for (long k = 0; k < size; k++) out[k] = from[k];
}

static inline WIDE void narrow(kept *out, const float *from, long size) {
  for (long k = 0; k < size; k++) out[k] = from[k];
}
#endif
