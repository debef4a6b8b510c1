// Logits as whole numbers in the same order, for whoever looks for the highest; and what a group
// finds together.
#define MIN(a, b) ((a) < (b) ? (a) : (b))
#define MAX(a, b) ((a) > (b) ? (a) : (b))
#define PLUS(a, b) ((a) + (b))
#define LOWEST_KEY 0x7FFFFFu   // of -inf
#define BEYOND_KEYS 0xFF800000u // of inf; that of NaN is above
#define IS_FINITE(key) ((key) > LOWEST_KEY && (key) < BEYOND_KEYS)
#define END_OF(part) MIN(((part) + 1) * PART, SIZE)
#define WORDS(at) ((ulong)(at)[1] << 32 | (at)[0])

// Both zeros have one.
FUNCTION uint key_of(uint bits) {
  if ((bits & 0x7FFFFFFFu) > 0x7F800000u) return 0xFFFFFFFFu;
  if (bits == 0x80000000u) return bits;
  return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

FUNCTION uint bits_of(uint key) { return key & 0x80000000u ? key ^ 0x80000000u : ~key; }

// What all threads have joins in each thread's own; `found` has room for one of each.
#define GATHER(found, own, JOIN)                                                        \
  {                                                                                     \
    found[THREAD] = own;                                                                \
    BARRIER;                                                                            \
    for (int span = THREADS / 2; span; span /= 2) {                                     \
      if (THREAD < span) found[THREAD] = JOIN(found[THREAD], found[THREAD + span]);     \
      BARRIER;                                                                          \
    }                                                                                   \
    own = found[0];                                                                     \
    BARRIER;                                                                            \
  }
