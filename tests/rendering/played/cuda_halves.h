// Numbers of 16 bits.

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
