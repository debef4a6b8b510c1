// What tensor cores do.

#pragma once
#pragma clang system_header

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
// The sum of products and of what was there. The PTX ISA leaves open how it is rounded: here each step
// to the nearest float32. With CUT, what lies below the last of the 24 bits of the largest is cut off.
template <int K>
float sum_of(float sum, const float (&x)[K], const float (&y)[K]) {
  if (!CUT) {
    for (int k = 0; k < K; k++) sum += x[k] * y[k];
    return sum;
  }
  double largest = __builtin_fabs(double(sum)), all;
  for (int k = 0; k < K; k++) largest = __builtin_fmax(largest, __builtin_fabs(double(x[k]) * y[k]));
  if (largest == 0) return 0;
  double last = __builtin_ldexp(1, __builtin_ilogb(largest) - 23);
  all = __builtin_trunc(sum / last);
  for (int k = 0; k < K; k++) all += __builtin_trunc(double(x[k]) * y[k] / last);
  float nearest = all * last, beyond = __builtin_fabs(nearest) > __builtin_fabs(all * last);
  return beyond ? __builtin_nextafterf(nearest, 0) : nearest;
}
template <class T, int K>
void mma_sums(float (&sums)[4], Registers a, Registers b, int line) {
  unsigned lane = player_rank() % LANES, row = lane / 4, column = lane % 4 * 2;
  Registers left[4];
  Brought<Registers> as(a, line);
  for (unsigned holder = 0; holder < 4; holder++) left[holder] = as[4 * row + holder];
  Brought<Registers> bs(b, line);
  for (int i = 0; i < 4; i++) {
    float x[K], y[K];
    for (int k = 0; k < K; k++) {
      int holder = k % 8 / 2, high = k / 8;
      x[k] = part_of<T>(left[holder].all[2 * high + i / 2], k % 2);
      y[k] = part_of<T>(bs[4 * (column + i % 2) + holder].all[high], k % 2);
    }
    sums[i] = sum_of(sums[i], x, y);
  }
}
#define MMA_F32(K, T, name)                                                                    \
  template <class D, class... Rest> /* d in registers of floats, or of 32 bits */              \
  void player_mma_m16n8k##K##_f32_##name##_##name##_f32(D &d0, D &d1, D &d2, D &d3,            \
                                                        Rest... rest) {                        \
    D *d[] = {&d0, &d1, &d2, &d3};                                                             \
    int given[] = {int(rest)...}; /* a, b, the line */                                         \
    Registers a = {}, b = {};                                                                  \
    for (int i = 0; i < K / 4; i++) a.all[i] = given[i];                                       \
    for (int i = 0; i < K / 8; i++) b.all[i] = given[K / 4 + i];                               \
    float sums[4];                                                                             \
    for (int i = 0; i < 4; i++) sums[i] = __builtin_bit_cast(float, *d[i]);                    \
    mma_sums<T, K>(sums, a, b, given[K / 4 + K / 8]);                                          \
    for (int i = 0; i < 4; i++) *d[i] = __builtin_bit_cast(D, sums[i]);                        \
  }
MMA_F32(16, _Float16, f16)
MMA_F32(8, _Float16, f16)
MMA_F32(16, __bf16, bf16)
#undef MMA_F32
