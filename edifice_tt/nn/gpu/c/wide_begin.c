// As `few.c`, on a processor: a thread takes EACH columns of up to HELD rows, by vectors of 16
// numbers, and shares nothing with others but the norms of its rows.
  const int first_row = GROUP(1) * HELD;
#define ROW(r) MIN(first_row + (r), ALL_ROWS - 1) // beyond the last: that, to be left out
#define SIXTEEN_OF(x, i) vload16(i, (const GLOBAL float *)(x))
#if NORMED
  LOCAL float norms[HELD];
  for (int r = THREAD; r < HELD; r += THREADS) {
    float16 squares = 0;
    for (int i = 0; i < SIXTEENS; i++) {
      const float16 y = SIXTEEN_OF(x, ROW(r) * SIXTEENS + i);
      squares = fma(y, y, squares);
    }
    norms[r] = SQRT(sum_of(squares) / DEPTH + EPS);
  }
  BARRIER;
#endif
