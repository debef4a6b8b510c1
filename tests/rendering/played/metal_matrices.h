// Matrices of 8 x 8 that the 32 threads of a SIMD group hold together, two numbers each.

#pragma once
#pragma clang system_header

namespace metal {

template <class T, int Rows = 8, int Columns = 8>
struct simdgroup_matrix {
  static_assert(Rows == 8 && Columns == 8, "there are no others");
  typedef T elements __attribute__((ext_vector_type(2)));
  simdgroup_matrix() {}
  explicit simdgroup_matrix(T x);  // x on the diagonal, 0 elsewhere
  elements &thread_elements() { return held; }
  const elements &thread_elements() const { return held; }

 private:
  elements held;
};
typedef simdgroup_matrix<float> simdgroup_float8x8;
typedef simdgroup_matrix<half> simdgroup_half8x8;
typedef simdgroup_matrix<bfloat> simdgroup_bfloat8x8;

// Where the first of a lane's two numbers lies; the other is to its right.
inline uint matrix_row(uint lane) { return (lane / 16) * 4 + lane / 2 % 4; }
inline uint matrix_column(uint lane) { return lane / 8 % 2 * 4 + lane % 2 * 2; }
inline uint matrix_lane(uint row, uint column) {
  return row / 4 * 16 + column / 4 * 8 + row % 4 * 2 + column / 2 % 2;
}

template <class T, int Rows, int Columns>
simdgroup_matrix<T, Rows, Columns>::simdgroup_matrix(T x) {
  uint lane = player_rank() % LANES, row = matrix_row(lane), column = matrix_column(lane);
  held = {row == column ? x : T(0), row == column + 1 ? x : T(0)};
}

// d = a * b + c
template <class D, class A, class B, class C>
void simdgroup_multiply_accumulate(simdgroup_matrix<D> &d, simdgroup_matrix<A> a,
                                   simdgroup_matrix<B> b, simdgroup_matrix<C> c,
                                   int line = __builtin_LINE()) {
  Brought<typename simdgroup_matrix<A>::elements> as(a.thread_elements(), line);
  typename simdgroup_matrix<A>::elements left[4];
  uint lane = player_rank() % LANES, row = matrix_row(lane), column = matrix_column(lane);
  for (uint k = 0; k < 8; k += 2) left[k / 2] = as[matrix_lane(row, k)];
  Brought<typename simdgroup_matrix<B>::elements> bs(b.thread_elements(), line);
  float sums[2] = {float(c.thread_elements()[0]), float(c.thread_elements()[1])};
  for (uint k = 0; k < 8; k++) {
    auto right = bs[matrix_lane(k, column)];
    for (uint i = 0; i < 2; i++) sums[i] += float(left[k / 2][k % 2]) * float(right[i]);
  }
  for (uint i = 0; i < 2; i++) d.thread_elements()[i] = D(sums[i]);
}
template <class D, class A, class B>
void simdgroup_multiply(simdgroup_matrix<D> &d, simdgroup_matrix<A> a, simdgroup_matrix<B> b,
                        int line = __builtin_LINE()) {
  simdgroup_multiply_accumulate(d, a, b, simdgroup_matrix<D>(D(0)), line);
}
template <class T, int Rows, int Columns = Rows>
simdgroup_matrix<T, Rows, Columns> make_filled_simdgroup_matrix(T x) {
  simdgroup_matrix<T, Rows, Columns> made;
  made.thread_elements() = {x, x};
  return made;
}

// `from` points into device or threadgroup memory; rows are `stride` numbers apart.
template <class T, class From>
void simdgroup_load(simdgroup_matrix<T> &d, From from, ulong stride = 8, ulong2 origin = {0, 0},
                    bool transposed = false, int line = __builtin_LINE()) {
  player_simd_barrier(0, line);
  uint lane = player_rank() % LANES, row = matrix_row(lane), column = matrix_column(lane);
  for (uint i = 0; i < 2; i++) {
    uint y = transposed ? column + i : row, x = transposed ? row : column + i;
    d.thread_elements()[i] = from[(origin.y + y) * stride + origin.x + x];
  }
}
template <class T, class To>
void simdgroup_store(simdgroup_matrix<T> a, To to, ulong stride = 8, ulong2 origin = {0, 0},
                     bool transposed = false, int line = __builtin_LINE()) {
  player_simd_barrier(0, line);
  uint lane = player_rank() % LANES, row = matrix_row(lane), column = matrix_column(lane);
  for (uint i = 0; i < 2; i++) {
    uint y = transposed ? column + i : row, x = transposed ? row : column + i;
    to[(origin.y + y) * stride + origin.x + x] = a.thread_elements()[i];
  }
}

}  // namespace metal
