// The token of each row, and what its log-probability is computed from. Where rounding might decide
// the token is -1. A group a row.
  LOCAL ulong found[THREADS];
  const int row = GROUP(0);
  LOCAL uint keys[THREADS];
  const GLOBAL uint *of = asked + row * ASKED;
  if (of[0] != NOTHING) {
    const bool draws = of[0] == DRAW;
    uint top = 0;
    ulong lows = 0, highs = 0, mass = 0;
    for (int p = THREAD; p < PARTS; p += THREADS) top = MAX(top, HIGH(p));
    GATHER(keys, top, MAX)
    const bool is_finite = IS_FINITE(top);
    const uint edge = draws ? FROM(0) : top;
    const int last = draws ? (int)FROM(1) : SIZE;
    for (int p = THREAD; p < PARTS; p += THREADS) {
      lows += sums[(row * PARTS + p) * 4];
      highs += sums[(row * PARTS + p) * 4 + 1];
      if (!FILTERED) mass += SUM_OF_PART(p);
    }
    if (FILTERED && draws) OF_PARTS_FROM(edge) mass += IS_KEPT(i) ? WEIGHT(i) : 0;
    GATHER(found, lows, PLUS)
    GATHER(found, highs, PLUS)
    GATHER(found, mass, PLUS)
    const ulong margin = SIZE + (mass >> FINE), sought = draws ? high_of(WORDS(of + 6), mass) : 0;
