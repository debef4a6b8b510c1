// Attention of queries (ROWS, HEADS, SIZE) over a memory that all share and one of each text, by
// parts: a group takes POSITIONS of one of them, one head of keys and values, and up to QUERIES of
// the queries that read it. `mixed` gets the values mixed, and `found` the largest score and the sum
// of what weighs them; `combine.c` makes one softmax of them.
  LOCAL float asked[QUERIES * SIZE], weights[QUERIES * (POSITIONS + 1)], most[QUERIES];
  const int part = GROUP(0), kept = GROUP(1) % KEPT_HEADS, block = GROUP(1) / KEPT_HEADS;
  const bool is_shared = part < SHARED_PARTS;
  // Of a shared part the queries of all texts stand in blocks, of an own one those of each text.
  const int own_blocks = (TOKENS * REPEATS + QUERIES - 1) / QUERIES;
  const int text = is_shared ? 0 : block / own_blocks;
  const int all = is_shared ? ROWS * REPEATS : TOKENS * REPEATS;
  const int first_query = (is_shared ? block : block % own_blocks) * QUERIES;
  const int begin = BEGIN(part), count = MIN(SEEN(part, TOKENS - 1) - begin, POSITIONS);
  // Of a group that has nothing to do too, every thread comes to every barrier: PoCL computes
  // wrong numbers where barriers stand behind a condition.
  const bool is_asked =
      text < ROWS / TOKENS && first_query < all && IS_SEEN(part, 0, TOKENS - 1);
  const int there = is_asked ? MIN(all - first_query, QUERIES) : 0;
  for (int at = THREAD; at < there * SIZE; at += THREADS) {
    const int own = first_query + at / SIZE;
    const int row = text * TOKENS + own / REPEATS, head = kept * REPEATS + own % REPEATS;
    asked[at] = q[(row * HEADS + head) * SIZE + at % SIZE] * SCALE;
  }
  BARRIER;
  for (int at = THREAD; at < POSITIONS * (QUERIES / SOME); at += THREADS) {
    const int p = at % POSITIONS, first = at / POSITIONS * SOME;
    if (p < count && first < there) {
      float4 sums[SOME];
#pragma unroll
      for (int j = 0; j < SOME; j++) sums[j] = FLOAT4(0, 0, 0, 0);
      for (int e = 0; e < SIZE / 4; e++) {
        const float4 key = MEMORY(0, begin + p, e);
#pragma unroll
        for (int j = 0; j < SOME; j++) {
          // Of what is not there the last is computed, and left out.
          const int of = MIN(first + j, there - 1) * SIZE + 4 * e;
          ADD_PRODUCT(sums[j], key, FLOAT4(asked[of], asked[of + 1], asked[of + 2], asked[of + 3]));
        }
      }
#pragma unroll
      for (int j = 0; j < SOME; j++) {
        float score = (sums[j].x + sums[j].y) + (sums[j].z + sums[j].w);
        if (CAP > 0) score = TANH(score * (1 / CAP)) * CAP;
        const int token = (first_query + MIN(first + j, there - 1)) / REPEATS % TOKENS;
        const bool is_seen = begin + p < SEEN(part, token) && BEFORE(part) + begin + p > OLDEST(token);
        weights[(first + j) * (POSITIONS + 1) + p] = is_seen ? score : UNSEEN;
      }
    }
  }
  BARRIER;
  for (int at = THREAD; at < there; at += THREADS) {
    float largest = UNSEEN;
    for (int p = 0; p < count; p++) largest = MAX(largest, weights[at * (POSITIONS + 1) + p]);
    most[at] = largest;
  }
  BARRIER;
  for (int at = THREAD; at < there * POSITIONS; at += THREADS) {
    const int p = at % POSITIONS, of = at / POSITIONS * (POSITIONS + 1) + p;
    if (p < count) weights[of] = weights[of] > UNSEEN ? EXP(weights[of] - most[at / POSITIONS]) : 0;
  }
  BARRIER;
  for (int at = THREAD; at < SIZE / 4 * (QUERIES / PAIR); at += THREADS) {
    const int e = at % (SIZE / 4), first = at / (SIZE / 4) * PAIR;
    if (first < there) {
      float4 sums[PAIR];
      float totals[PAIR];
#pragma unroll
      for (int j = 0; j < PAIR; j++) {
        sums[j] = FLOAT4(0, 0, 0, 0);
        totals[j] = 0;
      }
      for (int p = 0; p < count; p++) {
        const float4 value = MEMORY(1, begin + p, e);
#pragma unroll
        for (int j = 0; j < PAIR; j++) {
          const float w = weights[MIN(first + j, there - 1) * (POSITIONS + 1) + p];
          ADD_PRODUCT(sums[j], FLOAT4(w, w, w, w), value);
          totals[j] += w;
        }
      }
#pragma unroll
      for (int j = 0; j < PAIR; j++) {
        const int own = first_query + first + j;
        const int row = text * TOKENS + own / REPEATS, head = kept * REPEATS + own % REPEATS;
        const int to = (row * HEADS + head) * PARTS + part;
        if (first + j < there) {
          mixed[to * (SIZE / 4) + e] = sums[j];
          if (e == 0) {
            found[2 * to] = most[first + j];
            found[2 * to + 1] = totals[j];
          }
        }
      }
    }
  }
