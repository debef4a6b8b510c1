// From the products (ROWS, HEADS + 2 KEPT_HEADS, SIZE) of a layer its queries, normed and rotated;
// and its keys, the same, and its values, to where a text keeps them. A group a head of a token.
  const int head = GROUP(0), row = GROUP(1), token = row % TOKENS;
  const int first = head < HEADS ? 0 : HEADS; // head of this kind
  const bool is_value = head >= HEADS + KEPT_HEADS;
  const GLOBAL float *of = products + (row * (HEADS + 2 * KEPT_HEADS) + head) * SIZE;
  float scale = 1;
#if NORM
  // A norm of a head, or of all heads together.
  LOCAL float found[THREADS];
  const int begin = NORM == WHOLE ? (first - head) * SIZE : 0;
  const int count = NORM == WHOLE ? (head < HEADS ? HEADS : KEPT_HEADS) * SIZE : SIZE;
  const int own_gain = NORM == WHOLE ? (head - first) * SIZE : 0;
  float squares = 0;
  for (int i = THREAD; i < count; i += THREADS) squares += of[begin + i] * of[begin + i];
  found[THREAD] = squares;
  BARRIER;
  squares = 0;
  for (int t = 0; t < THREADS; t++) squares += found[t];
  if (!is_value) scale = 1 / SQRT(squares / count + EPS);
#define GAIN(i) (is_value ? 1 : head < HEADS ? q_gain[own_gain + (i)] : k_gain[own_gain + (i)])
#else
#define GAIN(i) 1
#endif
#define OWN(i) (of[i] * scale * GAIN(i))
  for (int i = THREAD; i < SIZE; i += THREADS) {
    float y = OWN(i);
#if ROTATED
    if (!is_value && i < ROTATED) {
      const int pair = i % (ROTATED / 2), at = (rows[0] + rows[1] + token) * (ROTATED / 2) + pair;
      const float a = OWN(pair), b = OWN(pair + ROTATED / 2);
      y = i < ROTATED / 2 ? a * cosines[at] - b * sines[at] : b * cosines[at] + a * sines[at];
    }
#endif
    const int place = rows[1] + token;
    if (head < HEADS)
      queries[(row * HEADS + head) * SIZE + i] = y;
    else if (place < ROOM) {
      const int text = (is_value ? ROWS / TOKENS : 0) + row / TOKENS;
      const int kept = head - HEADS - (is_value ? KEPT_HEADS : 0);
      own[(((ulong)text * ROOM + place) * KEPT_HEADS + kept) * SIZE + i] = KEPT(y);
    }
  }
