// Leaves out the tokens beyond `top_k`, or beyond `top_p` of the weight of what is kept; of equals at
// the edge the lowest ids stay. A group a row. `to` gets the edge, the last of the equals, and whether
// both are known: not where the formula's rounding or ours might decide.
  LOCAL ulong found[3 * THREADS];
  const int row = GROUP(0);
  LOCAL uint keys[THREADS];
  const GLOBAL uint *of = asked + row * ASKED;
  if (of[0] == DRAW) {
    const uint edge = FROM(0);
    const int last = (int)FROM(1);
    ulong mass = 0;
    if (BY_WEIGHT) OF_PARTS_FROM(edge) mass += IS_KEPT(i) ? WEIGHT(i) : 0;
    GATHER(found, mass, PLUS)
    const ulong margin = BY_WEIGHT ? SIZE + (mass >> FINE) : 0;
    // The highest key from which on there is more than this.
    const ulong limit = BY_WEIGHT ? high_of(WORDS(of + 4), mass) + margin : (ulong)of[1] - 1;
    uint at = 0;
    for (int shift = 30; shift >= 0; shift -= 2) {
      const uint step = 1u << shift;
      ulong from[3] = {0, 0, 0};
      OF_PARTS_FROM(at + step) {
        const uint key = key_of(LOGIT(i));
        const ulong own = !IS_KEPT(i) ? 0 : MASS(i);
        for (uint j = 0; j < 3; j++)
          if (key >= at + (j + 1) * step) from[j] += own;
      }
      for (int j = 0; j < 3; j++) found[j * THREADS + THREAD] = from[j];
      BARRIER;
      for (int span = THREADS / 2; span; span /= 2) {
        if (THREAD < span)
          for (int j = 0; j < 3; j++)
            found[j * THREADS + THREAD] += found[j * THREADS + THREAD + span];
        BARRIER;
      }
      const uint steps = found[2 * THREADS] > limit ? 3
                         : found[THREADS] > limit   ? 2
                                                    : found[0] > limit;
      at += steps * step;
      BARRIER;
    }
    ulong above = 0, each = 0, equals = 0;
    uint next = BEYOND_KEYS, other = LOWEST_KEY;
    OF_PARTS_FROM(0) {
      const uint key = key_of(LOGIT(i));
      if (key > at) next = MIN(next, key);
      if (key < at) other = MAX(other, key);
      if (key > at && IS_KEPT(i)) above += MASS(i);
      if (key == at && IS_KEPT(i)) {
        equals++;
        each = WEIGHT(i);
      }
    }
    GATHER(keys, next, MIN)
    GATHER(keys, other, MAX)
    GATHER(found, above, PLUS)
    GATHER(found, equals, PLUS)
    GATHER(found, each, MAX)
    const ulong unit = BY_WEIGHT ? each : 1;
    const bool is_reached = above + equals * unit > limit;
    const bool stays = is_reached && !each; // what weighs nothing may stay
    // Of the equals so many stay, and one more.
    const ulong sought = is_reached && each ? (limit - above) / unit : 0;
    const float gap = AS_FLOAT(of[8]), here = AS_FLOAT(bits_of(at));
    const float up = AS_FLOAT(bits_of(next)), down = AS_FLOAT(bits_of(other));
    const bool is_sure = (!above && !sought) || above + sought * unit + 2 * margin <= limit;
    const bool is_known = stays || (is_reached && is_sure && up - here > gap && here - down > gap);
