// highest (ROWS, PARTS): the key of the highest logit of each part of (ROWS, SIZE), in the rows that
// are asked for. A group a part.
  LOCAL uint found[THREADS];
  const int part = GROUP(0), row = GROUP(1);
  if (asked[row * ASKED] != NOTHING) {
    uint most = 0;
    for (int i = part * PART + THREAD; i < END_OF(part); i += THREADS)
      most = MAX(most, key_of(logits[(ulong)row * SIZE + i]));
    GATHER(found, most, MAX)
    if (THREAD == 0) highest[row * PARTS + part] = most;
  }
