// Programs one after the other, for `replay.py`: Python lets go of its lock once for all of them.
// Knows no program.

typedef unsigned long number;
#define SIX(a, i) a[i], a[i + 1], a[i + 2], a[i + 3], a[i + 4], a[i + 5]
#define MANY(a) SIX(a, 0), SIX(a, 6), SIX(a, 12), SIX(a, 18), SIX(a, 24), SIX(a, 30), SIX(a, 36), SIX(a, 42)
#define SIX_NUMBERS number, number, number, number, number, number
typedef void program(SIX_NUMBERS, SIX_NUMBERS, SIX_NUMBERS, SIX_NUMBERS, SIX_NUMBERS, SIX_NUMBERS,
                     SIX_NUMBERS, SIX_NUMBERS);

// How many programs there are; then of each its address and MOST arguments. Who is called leaves those
// that it does not know to its caller, as on every processor that we run on.
static void call_all(const number *table) {
  const number *a = table + 1;
  for (number i = 0; i < table[0]; i++, a += MOST + 1) ((program *)a[0])(MANY((a + 1)));
}
