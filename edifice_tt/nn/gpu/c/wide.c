// The sums of PLACES weights from number PLACE on. One order of sums, whatever HELD and EACH are.
  for (int place = PLACE; place < PLACE + PLACES; place++) {
    float16 sums[EACH][HELD];
#pragma unroll
    for (int c = 0; c < EACH; c++)
#pragma unroll
      for (int r = 0; r < HELD; r++) sums[c][r] = 0;
    for (int part = 0; part < PARTS; part++)
      for (int i = 0; i < SIXTEENS; i++) {
        const int s = i % BLOCK_SIXTEENS;
        float16 weights[EACH];
#pragma unroll
        for (int c = 0; c < EACH; c++) {
          const GLOBAL FORMAT(word) *p =
              FORMAT(block_at)(W, part * COLUMNS + COLUMN(first + c), i);
          float numbers[16];
          for (int j = 0; j < 16; j++) numbers[j] = FORMAT(number_at)(p, s, j); // as one vector
          weights[c] = fma(vload16(0, numbers), FORMAT(scale_at)(p, s), FORMAT(minimum_at)(p, s));
#if NORMED
          weights[c] *= SIXTEEN_OF(gain, i);
#endif
        }
#pragma unroll
        for (int r = 0; r < HELD; r++) {
          const float16 y = SIXTEEN_OF(x, (ROW(r) * PARTS + part) * SIXTEENS + i);
#pragma unroll
          for (int c = 0; c < EACH; c++) sums[c][r] = fma(weights[c], y, sums[c][r]);
        }
      }
#pragma unroll
    for (int c = 0; c < EACH; c++)
#pragma unroll
      for (int r = 0; r < HELD; r++) found[place][c][r] = sum_of(sums[c][r]);
  }
