// Sums of HELD rows of x (ROWS, PARTS * DEPTH) times w (PARTS * COLUMNS, DEPTH), whose parts add up.
// LANES threads share EACH columns: each takes every so many of the 16 weights of a row, which it
// unpacks once for its rows of x. What a lane found goes to local memory, from PLACE on.
  {
    float4 sums[EACH][HELD];
#if TAKES_SQUARES
    float squares[HELD];
#pragma unroll
    for (int r = 0; r < HELD; r++) squares[r] = 0;
#endif
#pragma unroll
    for (int c = 0; c < EACH; c++)
#pragma unroll
      for (int r = 0; r < HELD; r++) sums[c][r] = FLOAT4(0, 0, 0, 0);
    for (int part = 0; part < PARTS; part++)
      for (int i = lane; i < SIXTEENS; i += LANES) {
        const int s = i % BLOCK_SIXTEENS;
        float scales[EACH], minima[EACH];
#pragma unroll
        for (int c = 0; c < EACH; c++) {
          const GLOBAL FORMAT(word) *p =
              FORMAT(block_at)(W, part * COLUMNS + COLUMN(first + c), i);
          scales[c] = FORMAT(scale_at)(p, s);
          minima[c] = FORMAT(minimum_at)(p, s);
        }
#pragma unroll
        for (int k = 0; k < 4; k++) {
          float4 weights[EACH];
#pragma unroll
          for (int c = 0; c < EACH; c++) {
            const GLOBAL FORMAT(word) *p =
                FORMAT(block_at)(W, part * COLUMNS + COLUMN(first + c), i);
            weights[c] = FLOAT4(FORMAT(number_at)(p, s, 4 * k) * scales[c] + minima[c],
                                FORMAT(number_at)(p, s, 4 * k + 1) * scales[c] + minima[c],
                                FORMAT(number_at)(p, s, 4 * k + 2) * scales[c] + minima[c],
                                FORMAT(number_at)(p, s, 4 * k + 3) * scales[c] + minima[c]);
#if NORMED
            weights[c] = TIMES(weights[c], gain[i * 4 + k]);
#endif
          }
#pragma unroll
          for (int r = 0; r < HELD; r++) {
            const int own = first_row + r < ROWS ? first_row + r : ROWS - 1;
            const float4 y = x[((own * PARTS + part) * SIXTEENS + i) * 4 + k];
#pragma unroll
            for (int c = 0; c < EACH; c++) ADD_PRODUCT(sums[c][r], weights[c], y);
#if TAKES_SQUARES
            squares[r] += y.x * y.x;
            squares[r] += y.y * y.y;
            squares[r] += y.z * y.z;
            squares[r] += y.w * y.w;
#endif
          }
        }
      }
#pragma unroll
    for (int c = 0; c < EACH; c++)
#pragma unroll
      for (int r = 0; r < HELD; r++) {
        const float4 sum = sums[c][r];
        const int at = PLACE + (team * EACH + c) * HELD + r;
        found[at * (LANES + 1) + lane] = (sum.x + sum.y) + (sum.z + sum.w);
      }
#if TAKES_SQUARES
    if (team == 0)
#pragma unroll
      for (int r = 0; r < HELD; r++) found[(SQUARES + r) * (LANES + 1) + lane] = squares[r];
#endif
  }
