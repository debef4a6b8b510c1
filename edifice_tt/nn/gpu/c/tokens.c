// What the kernels of a draw ask of a token, by its id, and of parts. What is kept has a key above
// `edge`, or that key and an id up to `last`.
#define WEIGHT(i) ((ulong)weights[(ulong)row * SIZE + (i)])
#define LOGIT(i) logits[(ulong)row * SIZE + (i)]
#define HIGH(part) highest[row * PARTS + (part)]
#define IS_KEPT(i) is_kept(key_of(LOGIT(i)), i, edge, last)
#define OF_PARTS_FROM(key)                \
  for (int p = 0; p < PARTS; p++)         \
    if (HIGH(p) >= (key))                 \
      for (int i = p * PART + THREAD; i < END_OF(p); i += THREADS)
#define OF_PART(p) for (int i = (p) * PART; i < END_OF(p); i++)
#define SUM_OF_PART(p) WORDS(sums + (row * PARTS + (p)) * 4 + 2)

FUNCTION bool is_kept(uint key, int id, uint edge, int last) {
  return key > edge || (key == edge && id <= last);
}
