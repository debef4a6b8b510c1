// What the Metal Shading Language gives a kernel, as far as tinygrad's renderer may use it, declared
// for clang: types, address spaces and names are checked, nothing runs. After the Metal Shading
// Language Specification, version 3.1. Where C++ would allow more than Metal does, it is forbidden.

#pragma once

// Address spaces are part of a pointer's type: one into another is an error.
#define device __attribute__((address_space(1)))
#define constant __attribute__((address_space(2)))
#define threadgroup __attribute__((address_space(3)))
#define kernel extern "C"

// Attributes of parameters; an unknown one is an error (-Werror=unknown-attributes).
#define threadgroup_position_in_grid maybe_unused
#define thread_position_in_threadgroup maybe_unused

typedef unsigned int uint;
typedef _Float16 half;
typedef __bf16 bfloat;

#define VECTORS(T)                                   \
  typedef T T##2 __attribute__((ext_vector_type(2))); \
  typedef T T##3 __attribute__((ext_vector_type(3))); \
  typedef T T##4 __attribute__((ext_vector_type(4)));
VECTORS(float)
VECTORS(half)
VECTORS(bfloat)
VECTORS(int)
VECTORS(uint)
VECTORS(bool)
#undef VECTORS
// A vector from its numbers, `float2(a, b)`; a name without parentheses behind it stays the type.
#define float2(...) (float2{__VA_ARGS__})
#define float4(...) (float4{__VA_ARGS__})
#define half2(...) (half2{__VA_ARGS__})
#define half4(...) (half4{__VA_ARGS__})
#define bfloat2(...) (bfloat2{__VA_ARGS__})
#define bfloat4(...) (bfloat4{__VA_ARGS__})
#define int2(...) (int2{__VA_ARGS__})
#define int4(...) (int4{__VA_ARGS__})
#define uint2(...) (uint2{__VA_ARGS__})
#define uint4(...) (uint4{__VA_ARGS__})
#define bool2(...) (bool2{__VA_ARGS__})
#define bool4(...) (bool4{__VA_ARGS__})

#define INFINITY (__builtin_inff())
#define NAN (__builtin_nanf(""))

namespace metal {

// Of float and half; bfloat has no functions, and neither have whole numbers.
#define OF_ONE(name)   \
  float name(float x); \
  half name(half x);   \
  void name(bfloat) = delete; \
  void name(int) = delete;
OF_ONE(exp2)
OF_ONE(log2)
OF_ONE(sqrt)
OF_ONE(trunc)
namespace precise {
float sin(float x);
}
#undef OF_ONE

enum class mem_flags { mem_none, mem_device, mem_threadgroup };
void threadgroup_barrier(mem_flags flags);

template <class T, class U>
T as_type(U x) {
  static_assert(sizeof(T) == sizeof(U), "as_type needs two types of one size");
  return __builtin_bit_cast(T, x);
}

// Matrices of 8 x 8 that the 32 threads of a SIMD group hold together, two numbers each.
template <class T>
struct simdgroup_matrix {
  typedef T elements __attribute__((ext_vector_type(2)));
  elements &thread_elements();
};
typedef simdgroup_matrix<float> simdgroup_float8x8;
typedef simdgroup_matrix<half> simdgroup_half8x8;
typedef simdgroup_matrix<bfloat> simdgroup_bfloat8x8;
// d = a * b + c
template <class D, class A, class B, class C>
void simdgroup_multiply_accumulate(simdgroup_matrix<D> &d, simdgroup_matrix<A> a,
                                   simdgroup_matrix<B> b, simdgroup_matrix<C> c);

}  // namespace metal

// Metal has neither.
#pragma GCC poison double goto
