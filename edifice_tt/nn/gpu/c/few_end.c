// What the lanes found is summed in one order, whatever ROWS is, and becomes a part of `out`.
  for (int at = THREAD; at < TEAMS * EACH * HELD; at += THREADS) {
    const int row = first_row + at % HELD;
    const int column = (GROUP(0) - FIRST_GROUP) / BLOCKS * TEAMS * EACH + at / HELD;
    float sums[TOGETHER];
    for (int t = 0; t < TOGETHER; t++) {
      sums[t] = 0;
      for (int l = 0; l < LANES; l++)
        sums[t] += found[(t * TEAMS * EACH * HELD + at) * (LANES + 1) + l];
    }
#if NORMED
    float squares = 0;
    for (int l = 0; l < LANES; l++) squares += found[(SQUARES + at % HELD) * (LANES + 1) + l];
    const float size = SQRT(squares / DEPTH + EPS);
    for (int t = 0; t < TOGETHER; t++) sums[t] /= size;
#endif
    if (row < ROWS && column < COLUMNS)
      PUT(row, column, sums[0] + BIAS(column), sums[1] + OTHER_BIAS(column));
  }
