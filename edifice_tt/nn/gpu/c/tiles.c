// As `few.c`, for many rows: a group computes a tile of TILE_ROWS by 32. Step by step its threads
// unpack 32 weights of 32 columns, and put them with those of x into local memory, where all read
// them: first the first of each column or row. Each thread holds TALL by 4 sums.
  LOCAL float weights[32 * WEIGHTS], given[32 * GIVEN];
  const int first_column = GROUP(0) * 32, first_row = GROUP(1) * TILE_ROWS;
  const int column = THREAD % 8 * 4, row = THREAD / 8 * TALL;
  float4 sums[TALL];
#pragma unroll
  for (int r = 0; r < TALL; r++) sums[r] = FLOAT4(0, 0, 0, 0);
  for (int part = 0; part < PARTS; part++)
    for (int step = 0; step < DEPTH / 32; step++) {
      for (int at = THREAD; at < 64; at += THREADS) {
        const int i = step * 2 + at / 32, s = i % BLOCK_SIXTEENS;
        const GLOBAL word *p = block_at(w, part * COLUMNS + COLUMN(first_column + at % 32), i);
        const float scale = scale_at(p, s), minimum = minimum_at(p, s);
#pragma unroll
        for (int j = 0; j < 16; j++)
          weights[(at / 32 * 16 + j) * WEIGHTS + at % 32] = number_at(p, s, j) * scale + minimum;
      }
      for (int at = THREAD; at < TILE_ROWS * 8; at += THREADS) {
        const int own = first_row + at / 8 < ROWS ? first_row + at / 8 : ROWS - 1;
        const float4 y = x[(own * PARTS + part) * (DEPTH / 4) + step * 8 + at % 8];
        const int to = at % 8 * 4 * GIVEN + at / 8;
        given[to] = y.x;
        given[to + GIVEN] = y.y;
        given[to + 2 * GIVEN] = y.z;
        given[to + 3 * GIVEN] = y.w;
      }
      BARRIER;
      for (int k = 0; k < 32; k++) {
        const int of = k * WEIGHTS + column;
        const float4 b = FLOAT4(weights[of], weights[of + 1], weights[of + 2], weights[of + 3]);
#pragma unroll
        for (int r = 0; r < TALL; r++) {
          const float y = given[k * GIVEN + row + r];
          ADD_PRODUCT(sums[r], FLOAT4(y, y, y, y), b);
        }
      }
      BARRIER;
    }
#pragma unroll
  for (int r = 0; r < TALL; r++) {
    const float four[4] = {sums[r].x, sums[r].y, sums[r].z, sums[r].w};
#pragma unroll
    for (int c = 0; c < 4; c++) {
      const int to_row = first_row + row + r, to = first_column + column + c;
      if (to_row < ROWS && to < COLUMNS) out[to_row * COLUMNS + to] = four[c] + BIAS(to);
    }
  }
