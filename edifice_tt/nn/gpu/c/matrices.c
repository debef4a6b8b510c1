// As `tiles.c`, by instructions that multiply matrices: a group computes a tile of TILE_ROWS by 32,
// each warp 16 * TALL rows of it. No product is rounded: weights are multiplied as the numbers that
// their blocks hold, which a bfloat16 is or PIECES of them are, and a float32 is three bfloat16. The
// sums of RUN weights, which share a scale, are scaled in float32. Local memory has room for two
// steps, so that one barrier is enough: what is read of a step is written again two steps later.
  const int lane = THREAD % 32, first_column = (GROUP(0) - FIRST_GROUP) * 32;
  const int first_row = GROUP(1) * TILE_ROWS + THREAD / 32 * 16 * TALL + lane / 4;
  float sums[TALL][4][4];
#pragma unroll
  for (int i = 0; i < TALL * 16; i++) sums[i / 16][i / 4 % 4][i % 4] = 0;
#if NORMED
  float squares[TALL][2];
#pragma unroll
  for (int i = 0; i < TALL * 2; i++) squares[i / 2][i % 2] = 0;
#endif
  for (int step = 0; step < PARTS * (DEPTH / 32); step++) {
    const int part = step / (DEPTH / 32), at = step % (DEPTH / 32), room = step % 2 * 32;
    float4 given[TALL][2][2];
#pragma unroll
    for (int i = 0; i < TALL * 4; i++) {
      const int r = i / 4, lower = i / 2 % 2, s = i % 2, row = first_row + r * 16 + lower * 8;
      const int own = row < ROWS ? row : ROWS - 1, four = at * 8 + s * 4 + lane % 4;
      float4 y = x[(own * PARTS + part) * (DEPTH / 4) + four];
#if NORMED
      squares[r][lower] += (y.x * y.x + y.y * y.y) + (y.z * y.z + y.w * y.w);
      y = TIMES(y, gain[four]);
#endif
      given[r][lower][s] = y;
    }
    for (int one = THREAD; one < 64; one += THREADS) {
      const int i = at * 2 + one / 32, s = i % BLOCK_SIXTEENS, column = room + one % 32;
      const GLOBAL FORMAT(word) *p =
          FORMAT(block_at)(W, part * COLUMNS + COLUMN(first_column + one % 32), i);
      scales[one / 32 * 64 + column] = make_float2(FORMAT(scale_at)(p, s), FORMAT(minimum_at)(p, s));
#pragma unroll
      for (int j = 0; j < 16; j += 4) {
        float rest[4];
#pragma unroll
        for (int k = 0; k < 4; k++) rest[k] = FORMAT(number_at)(p, s, j + k);
#pragma unroll
        for (int piece = 0; piece < PIECES; piece++) {
          const uint first = taken_of(rest, rest + 1), last = taken_of(rest + 2, rest + 3);
          weights[(piece * 64 + column) * LINE + one / 32 * 4 + j / 4] = make_uint2(first, last);
        }
      }
    }
    BARRIER;
#pragma unroll
    for (int run = 0; run < 2; run += RUN / 16)
#pragma unroll
      for (int r = 0; r < TALL; r++) {
        uint left[RUN / 16][3][4];
        float totals[2] = {0, 0};
#pragma unroll
        for (int i = 0; i < RUN / 8; i++) {
          const int lower = i % 2, s = i / 2;
          float4 y = given[r][lower][run + s];
          totals[lower] += (y.x + y.y) + (y.z + y.w);
#pragma unroll
          for (int piece = 0; piece < 3; piece++) {
            left[s][piece][lower] = taken_of(&y.x, &y.y);
            left[s][piece][lower + 2] = taken_of(&y.z, &y.w);
          }
        }
#if HAS_MINIMUM
        totals[0] = over_row(totals[0]);
        totals[1] = over_row(totals[1]);
#endif
#pragma unroll
        for (int n = 0; n < 4; n++) {
          float found[4] = {0, 0, 0, 0};
#pragma unroll
          for (int i = 0; i < RUN / 16 * PIECES; i++) {
            const int s = i / PIECES, column = i % PIECES * 64 + room + n * 8 + lane / 4;
            const uint2 right = weights[column * LINE + (run + s) * 4 + lane % 4];
#pragma unroll
            for (int piece = 0; piece < 3; piece++) multiply(found, left[s][piece], right);
          }
#pragma unroll
          for (int i = 0; i < 4; i++) {
            const float2 by = scales[run * 64 + room + n * 8 + lane % 4 * 2 + i % 2];
            sums[r][n][i] += found[i] * by.x;
#if HAS_MINIMUM
            sums[r][n][i] += totals[i / 2] * by.y;
#endif
          }
        }
      }
  }
#pragma unroll
  for (int i = 0; i < TALL * 2; i++) {
    const int r = i / 2, lower = i % 2, row = first_row + r * 16 + lower * 8;
    float size = 1;
#if NORMED
    size = SQRT(over_row(squares[r][lower]) / DEPTH + EPS);
#endif
#pragma unroll
    for (int j = 0; j < 8; j++) {
      const int column = first_column + j / 2 * 8 + lane % 4 * 2 + j % 2;
      const float sum = sums[r][j / 2][lower * 2 + j % 2];
      if (row < ROWS && column < COLUMNS) PUT(row, column, sum / size + BIAS(column), 0);
    }
  }
