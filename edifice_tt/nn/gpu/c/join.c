// out (ROWS, COLUMNS): the root-mean-square norm of x, or `before` + RESIDUAL times that. A group a
// row.
  LOCAL float found[THREADS];
  const int row = GROUP(0) * COLUMNS;
  float squares = 0;
  for (int i = THREAD; i < COLUMNS; i += THREADS) squares += x[row + i] * x[row + i];
  found[THREAD] = squares;
  BARRIER;
  squares = 0;
  for (int t = 0; t < THREADS; t++) squares += found[t];
  const float size = SQRT(squares / COLUMNS + EPS);
  for (int i = THREAD; i < COLUMNS; i += THREADS)
    out[row + i] = JOINED(row + i, x[row + i] / size * gain[i]);
