// out (ROWS, COLUMNS) = x (ROWS, PARTS * DEPTH) times w (PARTS * COLUMNS, DEPTH), whose parts add
// up. LANES threads share EACH columns: each takes every so many of the 16 weights of a row, which
// it unpacks once for all rows of x. What they found is summed in one order, whatever ROWS is.
  LOCAL float found[TEAMS * EACH * ROWS * (LANES + 1)];
  const int lane = THREAD % LANES, team = THREAD / LANES;
  const int first = (GROUP(0) * TEAMS + team) * EACH;
  float4 sums[EACH][ROWS];
#pragma unroll
  for (int c = 0; c < EACH; c++)
#pragma unroll
    for (int r = 0; r < ROWS; r++) sums[c][r] = FLOAT4(0, 0, 0, 0);
  for (int part = 0; part < PARTS; part++)
    for (int i = lane; i < SIXTEENS; i += LANES) {
      const int s = i % BLOCK_SIXTEENS;
      float scales[EACH], minima[EACH];
#pragma unroll
      for (int c = 0; c < EACH; c++) {
        const GLOBAL word *p = block_at(w, part * COLUMNS + COLUMN(first + c), i);
        scales[c] = scale_at(p, s);
        minima[c] = minimum_at(p, s);
      }
#pragma unroll
      for (int k = 0; k < 4; k++) {
        float4 weights[EACH];
#pragma unroll
        for (int c = 0; c < EACH; c++) {
          const GLOBAL word *p = block_at(w, part * COLUMNS + COLUMN(first + c), i);
          weights[c] = FLOAT4(number_at(p, s, 4 * k) * scales[c] + minima[c],
                              number_at(p, s, 4 * k + 1) * scales[c] + minima[c],
                              number_at(p, s, 4 * k + 2) * scales[c] + minima[c],
                              number_at(p, s, 4 * k + 3) * scales[c] + minima[c]);
        }
#pragma unroll
        for (int r = 0; r < ROWS; r++) {
          const float4 y = x[((r * PARTS + part) * SIXTEENS + i) * 4 + k];
#pragma unroll
          for (int c = 0; c < EACH; c++) ADD_PRODUCT(sums[c][r], weights[c], y);
        }
      }
    }
#pragma unroll
  for (int c = 0; c < EACH; c++)
#pragma unroll
    for (int r = 0; r < ROWS; r++) {
      const float4 sum = sums[c][r];
      const int at = (team * EACH + c) * ROWS + r;
      found[at * (LANES + 1) + lane] = (sum.x + sum.y) + (sum.z + sum.w);
    }
  BARRIER;
  for (int at = THREAD; at < TEAMS * EACH * ROWS; at += THREADS) {
    const int column = GROUP(0) * TEAMS * EACH + at / ROWS;
    float sum = 0;
    for (int l = 0; l < LANES; l++) sum += found[at * (LANES + 1) + l];
    if (column < COLUMNS) out[at % ROWS * COLUMNS + column] = sum + BIAS(column);
  }
