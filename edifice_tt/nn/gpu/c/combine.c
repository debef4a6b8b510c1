// One softmax of the parts that `attend.c` computed: out (ROWS, HEADS, SIZE), a thread four of it.
  const int at = GROUP(0) * THREADS + THREAD, of = at / (SIZE / 4), e = at % (SIZE / 4);
  if (of < ROWS * HEADS) {
    const int token = of / HEADS % TOKENS;
    float largest = UNSEEN, total = 0;
    float4 sum = FLOAT4(0, 0, 0, 0);
    for (int part = 0; part < PARTS; part++)
      if (IS_SEEN(part, token, token)) largest = MAX(largest, found[2 * (of * PARTS + part)]);
    for (int part = 0; part < PARTS; part++)
      if (IS_SEEN(part, token, token)) {
        const float w = EXP(found[2 * (of * PARTS + part)] - largest);
        ADD_PRODUCT(sum, FLOAT4(w, w, w, w), mixed[(of * PARTS + part) * (SIZE / 4) + e]);
        total += w * found[2 * (of * PARTS + part) + 1];
      }
    const float share = 1 / total;
    out[at] = TIMES(sum, FLOAT4(share, share, share, share));
  }
