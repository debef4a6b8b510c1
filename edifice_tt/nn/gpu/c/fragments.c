// Matrices that the 32 threads of a warp multiply together, in CUDA: `mma` of PTX, m16n8k16 on
// bfloat16. Thread `l` holds of the left matrix rows l / 4 and l / 4 + 8, of the right one column
// l / 4, and of their sums those rows at columns l % 4 * 2 and the next.
#define WARP 0xFFFFFFFFu

// sums += left * right. Which 16 numbers are which along the depth matters to both alike, so that a
// thread has four in a row: the first two of each row, then the last two.
FUNCTION void multiply(float *sums, const uint *left, uint2 right) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
      "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
      : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
      : "r"(left[0]), "r"(left[1]), "r"(left[2]), "r"(left[3]), "r"(right.x), "r"(right.y));
}

// The upper halves of two floats, which are bfloat16, side by side; what they lack stays.
FUNCTION uint taken_of(float *a, float *b) {
  const uint first = AS_UINT(*a) & 0xFFFF0000u, second = AS_UINT(*b) & 0xFFFF0000u;
  *a -= AS_FLOAT(first);
  *b -= AS_FLOAT(second);
  return first >> 16 | second;
}

// The sum over the four threads that hold a row.
FUNCTION float over_row(float x) {
  x += __shfl_xor_sync(WARP, x, 1);
  return x + __shfl_xor_sync(WARP, x, 2);
}
