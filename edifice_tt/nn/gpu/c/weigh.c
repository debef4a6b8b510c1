// The weights of tokens: of each part the sum at temperature 1, a token of weight 1 being 2^BITS; and
// where a row draws each token's at its temperature, 1 being 2^(BITS - SPARE), and their sum.
// A group a part.
  LOCAL uint keys[THREADS];
  const int part = GROUP(0), row = GROUP(1);
  LOCAL ulong found[THREADS];
  const GLOBAL uint *of = asked + row * ASKED;
  if (of[0] != NOTHING) {
    uint most = 0;
    for (int p = THREAD; p < PARTS; p += THREADS) most = MAX(most, highest[row * PARTS + p]);
    GATHER(keys, most, MAX)
    const bool is_finite = IS_FINITE(most); // else nothing weighs anything
    const uint top = bits_of(most);
    const ulong factor = WORDS(of + 2);
    ulong total = 0, sum = 0;
    for (int i = part * PART + THREAD; i < END_OF(part); i += THREADS) {
      const ulong at = (ulong)row * SIZE + i;
      ulong weight = is_finite ? whole(logits[at], top, REAL(OCTAVES)) : 0;
      total += weight;
      if (of[0] == DRAW) {
        if (is_finite && factor != OCTAVES) weight = whole(logits[at], top, REAL(factor));
        weights[at] = (float)((weight + ((ulong)1 << (SPARE - 1))) >> SPARE);
        sum += (ulong)weights[at];
      }
    }
    GATHER(found, total, PLUS)
    GATHER(found, sum, PLUS)
    if (THREAD == 0) {
      GLOBAL uint *to = sums + (row * PARTS + part) * 4;
      to[0] = (uint)total;
      to[1] = (uint)(total >> 32);
      to[2] = (uint)sum;
      to[3] = (uint)(sum >> 32);
    }
  }
