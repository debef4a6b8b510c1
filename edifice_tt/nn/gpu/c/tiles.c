// As `few.c`, for many rows: a group computes a tile of TILE_ROWS by 32. Step by step its threads
// unpack 32 weights of 32 columns, and put them with those of x into local memory, where all read
// them: first the first of each column or row. Each thread holds TALL by 4 sums. With MATRICES, in
// Metal, the 32 threads of a SIMD group hold theirs together, as matrices of 8 by 8 in float32.
  const int first_column = (GROUP(0) - FIRST_GROUP) * 32, first_row = GROUP(1) * TILE_ROWS;
  const int column = THREAD % 8 * 4, row = THREAD / 8 * TALL;
#if MATRICES
  const int own_rows = THREAD / 32 * 4 * TALL; // of a SIMD group: 4 * TALL
  simdgroup_float8x8 sums[TALL / 2][4];
#pragma unroll
  for (int i = 0; i < TALL * 2; i++)
    sums[i / 4][i % 4] = make_filled_simdgroup_matrix<float, 8, 8>(0.0f);
#else
  float4 sums[TALL];
#pragma unroll
  for (int r = 0; r < TALL; r++) sums[r] = FLOAT4(0, 0, 0, 0);
#endif
#if NORMED
  float squares[TALL];
#pragma unroll
  for (int r = 0; r < TALL; r++) squares[r] = 0;
#endif
  for (int part = 0; part < PARTS; part++)
    for (int step = 0; step < DEPTH / 32; step++) {
      for (int at = THREAD; at < 64; at += THREADS) {
        const int i = step * 2 + at / 32, s = i % BLOCK_SIXTEENS;
        const GLOBAL FORMAT(word) *p =
            FORMAT(block_at)(W, part * COLUMNS + COLUMN(first_column + at % 32), i);
        const float scale = FORMAT(scale_at)(p, s), minimum = FORMAT(minimum_at)(p, s);
#pragma unroll
        for (int j = 0; j < 16; j++)
          weights[(at / 32 * 16 + j) * WEIGHTS + at % 32] =
              FORMAT(number_at)(p, s, j) * scale + minimum;
      }
#pragma unroll
      for (int r = 0; r < TALL; r++) {
        const int at = r * THREADS + THREAD;
        const int own = first_row + at / 8 < ROWS ? first_row + at / 8 : ROWS - 1;
        float4 y = x[(own * PARTS + part) * (DEPTH / 4) + step * 8 + at % 8];
#if NORMED
        squares[r] += y.x * y.x;
        squares[r] += y.y * y.y;
        squares[r] += y.z * y.z;
        squares[r] += y.w * y.w;
        y = TIMES(y, gain[step * 8 + at % 8]);
#endif
        const int to = at % 8 * 4 * GIVEN + at / 8;
        given[to] = y.x;
        given[to + GIVEN] = y.y;
        given[to + 2 * GIVEN] = y.z;
        given[to + 3 * GIVEN] = y.w;
      }
      BARRIER;
#if MATRICES
#pragma unroll
      for (int k = 0; k < 32; k += 8) {
        simdgroup_float8x8 right[4], left;
#pragma unroll
        for (int c = 0; c < 4; c++) simdgroup_load(right[c], weights + k * WEIGHTS + c * 8, WEIGHTS);
#pragma unroll
        for (int r = 0; r < TALL / 2; r++) {
          simdgroup_load(left, given + k * GIVEN + own_rows + r * 8, GIVEN, ulong2(0, 0), true);
#pragma unroll
          for (int c = 0; c < 4; c++)
            simdgroup_multiply_accumulate(sums[r][c], left, right[c], sums[r][c]);
        }
      }
#else
      for (int k = 0; k < 32; k++) {
        const int of = k * WEIGHTS + column;
        const float4 b = FLOAT4(weights[of], weights[of + 1], weights[of + 2], weights[of + 3]);
#pragma unroll
        for (int r = 0; r < TALL; r++) {
          const float y = given[k * GIVEN + row + r];
          ADD_PRODUCT(sums[r], FLOAT4(y, y, y, y), b);
        }
      }
#endif
      BARRIER;
    }
#if NORMED
#pragma unroll
  for (int r = 0; r < TALL; r++) weights[r * THREADS + THREAD] = squares[r];
  BARRIER;
#endif
#if MATRICES
#pragma unroll
  for (int i = 0; i < TALL * 2; i++)
    simdgroup_store(sums[i / 4][i % 4], given + i % 4 * 8 * GIVEN + own_rows + i / 4 * 8, GIVEN,
                    ulong2(0, 0), true);
  BARRIER;
#endif
#pragma unroll
  for (int r = 0; r < TALL; r++) {
#if MATRICES
    float four[4];
    for (int c = 0; c < 4; c++) four[c] = given[row + r + (column + c) * GIVEN];
#else
    const float four[4] = {sums[r].x, sums[r].y, sums[r].z, sums[r].w};
#endif
    float size = 1;
#if NORMED
    size = 0;
    for (int l = 0; l < 8; l++) size += weights[(row + r) * 8 + l];
    size = SQRT(size / DEPTH + EPS);
#endif
#pragma unroll
    for (int c = 0; c < 4; c++) {
      const int to_row = first_row + row + r, to = first_column + column + c;
      if (to_row < ROWS && to < COLUMNS) PUT(to_row, to, four[c] / size + BIAS(to), 0);
    }
  }
