// The first token at which a running sum of COUNTED passes what is sought: first among the parts that
// each thread takes, then among the tokens of one.
    ulong own = 0, before = 0;
    for (int p = THREAD * SHARE; p < MIN((THREAD + 1) * SHARE, PARTS); p++) {
      COUNT_PART(own, p)
    }
    found[THREAD] = own;
    BARRIER;
    int taker = 0;
    while (taker < THREADS - 1 && before + found[taker] <= sought) before += found[taker++];
    BARRIER;
    int part = MIN(taker * SHARE, PARTS - 1);
    for (; part < MIN((taker + 1) * SHARE, PARTS) - 1; part++) {
      ulong more = 0;
      COUNT_PART(more, part)
      if (before + more > sought) break;
      before += more;
    }
    own = 0;
    for (int j = 0; j < PART / THREADS; j++) {
      const int i = part * PART + THREAD * (PART / THREADS) + j;
      if (i < SIZE) own += COUNTED(i);
    }
    found[THREAD] = own;
    BARRIER;
    taker = 0;
    while (taker < THREADS - 1 && before + found[taker] <= sought) before += found[taker++];
    int id = MIN(part * PART + taker * (PART / THREADS), SIZE - 1);
    for (; id < SIZE - 1 && before + COUNTED(id) <= sought; id++) before += COUNTED(id);
