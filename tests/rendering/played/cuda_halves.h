// Numbers of 16 bits, and what tensor cores do with them.

#pragma once
#pragma clang system_header

typedef _Float16 half;
typedef _Float16 __half;
typedef __bf16 nv_bfloat16;
typedef __bf16 __nv_bfloat16;

struct __align__(4) half2 { half x, y; };
struct __align__(4) nv_bfloat162 { nv_bfloat16 x, y; };
inline half2 make_half2(half x, half y) { return {x, y}; }
inline nv_bfloat162 make_nv_bfloat162(nv_bfloat16 x, nv_bfloat16 y) { return {x, y}; }
inline float __half2float(half x) { return x; }
inline half __float2half(float x) { return half(x); }
inline half __float2half_rn(float x) { return half(x); }
inline float2 __half22float2(half2 x) { return {float(x.x), float(x.y)}; }
inline half2 __floats2half2_rn(float x, float y) { return {half(x), half(y)}; }
inline float __bfloat162float(nv_bfloat16 x) { return x; }
inline nv_bfloat16 __float2bfloat16(float x) { return nv_bfloat16(x); }
inline half __ushort_as_half(unsigned short x) { return __builtin_bit_cast(half, x); }
inline unsigned short __half_as_ushort(half x) { return __builtin_bit_cast(unsigned short, x); }

#define OF_ONE(name)                                                                      \
  inline half h##name(half x) { return half(__builtin_##name##f(float(x))); }             \
  inline nv_bfloat16 h##name(nv_bfloat16 x) { return nv_bfloat16(__builtin_##name##f(float(x))); }
OF_ONE(exp)
OF_ONE(exp2)
OF_ONE(log)
OF_ONE(log2)
OF_ONE(sqrt)
OF_ONE(sin)
OF_ONE(trunc)
#undef OF_ONE
inline half hrcp(half x) { return half(1 / float(x)); }
inline nv_bfloat16 hrcp(nv_bfloat16 x) { return nv_bfloat16(1 / float(x)); }

// d (16, 8) = a (16, K) * b (K, 8) + c, after the PTX ISA. Lane l holds of a the rows l / 4 and l / 4
// + 8, of b the column l / 4, of c and d the same rows as of a. Each register of a and b has two
// numbers side by side in K.
struct Registers {
  int all[4];
};
template <class T>
float part_of(int packed, int i) {
  return float(__builtin_bit_cast(T, (unsigned short)(unsigned(packed) >> 16 * i)));
}
template <class T, int K>
void mma_sums(float (&sums)[4], Registers a, Registers b, int line) {
  unsigned lane = player_rank() % LANES, row = lane / 4, column = lane % 4 * 2;
  Registers left[4];
  Brought<Registers> as(a, line);
  for (unsigned holder = 0; holder < 4; holder++) left[holder] = as[4 * row + holder];
  Brought<Registers> bs(b, line);
  for (int k = 0; k < K; k++)
    for (int i = 0; i < 4; i++) {
      int holder = k % 8 / 2, high = k / 8;
      float x = part_of<T>(left[holder].all[2 * high + i / 2], k % 2);
      sums[i] += x * part_of<T>(bs[4 * (column + i % 2) + holder].all[high], k % 2);
    }
}
#define MMA_F32(K, T, name)                                                                    \
  template <class... Rest>                                                                     \
  void player_mma_m16n8k##K##_f32_##name##_##name##_f32(int &d0, int &d1, int &d2, int &d3,    \
                                                        Rest... rest) {                        \
    int *d[] = {&d0, &d1, &d2, &d3}, given[] = {rest...}; /* a, b, the line */                 \
    Registers a = {}, b = {};                                                                  \
    for (int i = 0; i < K / 4; i++) a.all[i] = given[i];                                       \
    for (int i = 0; i < K / 8; i++) b.all[i] = given[K / 4 + i];                               \
    float sums[4];                                                                             \
    for (int i = 0; i < 4; i++) sums[i] = __builtin_bit_cast(float, *d[i]);                    \
    mma_sums<T, K>(sums, a, b, given[K / 4 + K / 8]);                                          \
    for (int i = 0; i < 4; i++) *d[i] = __builtin_bit_cast(int, sums[i]);                      \
  }
MMA_F32(16, half, f16)
MMA_F32(8, half, f16)
MMA_F32(16, nv_bfloat16, bf16)
#undef MMA_F32
