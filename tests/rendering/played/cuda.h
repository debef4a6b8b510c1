// What CUDA C++ gives a kernel, as far as those here use it, for the player. Whether a kernel is
// valid CUDA is for NVRTC to say: where CUDA forbids more than C++, this does not.

#pragma once
#pragma clang system_header

#include "player.h"

#define __device__
#define __forceinline__ inline
#define __restrict__ __restrict
#define __launch_bounds__(...)
#define __align__(n) __attribute__((aligned(n)))
#define __constant__ const
#define __shared__ SHARED

typedef unsigned char uchar;
typedef unsigned short ushort;
typedef unsigned int uint;

#define threadIdx (player_thread())
#define blockIdx (player_group())
#define blockDim (player_threads())
#define gridDim (player_groups())
enum { warpSize = LANES };

#define VECTORS(T, name, size)                                                              \
  struct __align__(2 * size) name##2 { T x, y; };                                           \
  struct name##3 { T x, y, z; };                                                            \
  struct __align__(4 * size) name##4 { T x, y, z, w; };                                     \
  inline name##2 make_##name##2(T x, T y) { return {x, y}; }                                \
  inline name##3 make_##name##3(T x, T y, T z) { return {x, y, z}; }                        \
  inline name##4 make_##name##4(T x, T y, T z, T w) { return {x, y, z, w}; }
VECTORS(float, float, 4)
VECTORS(int, int, 4)
VECTORS(unsigned, uint, 4)
VECTORS(signed char, char, 1)
VECTORS(unsigned char, uchar, 1)
VECTORS(short, short, 2)
VECTORS(unsigned short, ushort, 2)
#undef VECTORS

#define OF_ONE(name)                                                \
  inline float name(float x) { return __builtin_##name##f(x); }     \
  inline double name(double x) { return __builtin_##name(x); }      \
  inline float name##f(float x) { return __builtin_##name##f(x); }
OF_ONE(exp)
OF_ONE(exp2)
OF_ONE(log)
OF_ONE(log2)
OF_ONE(sqrt)
OF_ONE(sin)
OF_ONE(cos)
OF_ONE(tanh)
OF_ONE(trunc)
OF_ONE(floor)
OF_ONE(ceil)
OF_ONE(rint)
OF_ONE(round)
OF_ONE(fabs)
#undef OF_ONE
inline float rsqrtf(float x) { return 1 / __builtin_sqrtf(x); }
inline float powf(float x, float y) { return __builtin_powf(x, y); }
inline float fmaf(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
inline float fmaxf(float a, float b) { return __builtin_fmaxf(a, b); }
inline float fminf(float a, float b) { return __builtin_fminf(a, b); }
inline float __expf(float x) { return __builtin_expf(x); }
#define OF_TWO(T)                                   \
  inline T max(T a, T b) { return a > b ? a : b; }  \
  inline T min(T a, T b) { return a < b ? a : b; }
OF_TWO(int)
OF_TWO(unsigned)
OF_TWO(float)
#undef OF_TWO

inline float __int_as_float(int x) { return __builtin_bit_cast(float, x); }
inline float __uint_as_float(unsigned x) { return __builtin_bit_cast(float, x); }
inline int __float_as_int(float x) { return __builtin_bit_cast(int, x); }
inline unsigned __float_as_uint(float x) { return __builtin_bit_cast(unsigned, x); }
inline double __longlong_as_double(long long x) { return __builtin_bit_cast(double, x); }
inline long long __double_as_longlong(double x) { return __builtin_bit_cast(long long, x); }
// Never part of an operation that is rounded once.
inline double alone(double x) {
  __asm__("" : "+x"(x));
  return x;
}
inline double __dadd_rn(double a, double b) { return alone(a + b); }
inline double __dmul_rn(double a, double b) { return alone(a * b); }
template <class T>
T __ldg(const T *x) { return *x; }

// `line` is no part of CUDA: where the call stands. A shuffle orders no memory.
inline void __syncthreads(int line = __builtin_LINE()) {
  player_barrier(ORDERS_DEVICE | ORDERS_SHARED, line);
}
inline void of_all_lanes(unsigned mask, int line) {
  if (mask != 0xFFFFFFFF) player_refuse(line);  // parts of a warp are not played
}
inline void __syncwarp(unsigned mask = 0xFFFFFFFF, int line = __builtin_LINE()) {
  of_all_lanes(mask, line);
  player_simd_barrier(ORDERS_DEVICE | ORDERS_SHARED, line);
}
#define SHUFFLE(name, from)                                                                   \
  template <class T>                                                                          \
  T name(unsigned mask, T x, int other, int width = LANES, int line = __builtin_LINE()) {     \
    of_all_lanes(mask, line);                                                                 \
    int lane = player_rank() % LANES, first = lane / width * width, source = from;            \
    return from_lane(x, source < first || source >= first + width ? lane : source, line);     \
  }
SHUFFLE(__shfl_sync, first + other % width)
SHUFFLE(__shfl_xor_sync, lane ^ other)
SHUFFLE(__shfl_down_sync, lane + other)
SHUFFLE(__shfl_up_sync, lane - other)
#undef SHUFFLE

#include "cuda_matrices.h"
