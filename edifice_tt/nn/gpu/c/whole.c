// The weight of a token as a whole number, exp of its logit less the highest times a factor, with the
// bits of `nn/exponentials.py`. The factor makes sixteenths of an octave of what is left.
CONSTANT ulong POWERS[16] = {SIXTEENTHS};

FUNCTION ulong whole(uint bits, uint top, real factor) {
  if (bits == 0xFF800000u) return 0;
  const real t = MULTIPLIED(ADDED(REAL_OF(bits), NEGATIVE(REAL_OF(top))), factor);
  if ((BITS_OF(t) & 0x7FFFFFFFFFFFFFFF) >= NOTHING_LEFT) return 0; // less than half of 1
  const real moved = ADDED(t, REAL(SHIFT));
  const real r = ADDED(t, NEGATIVE(ADDED(moved, NEGATIVE(REAL(SHIFT)))));
  real p = ADDED(MULTIPLIED(r, REAL(C5)), REAL(C4));
  p = ADDED(MULTIPLIED(p, r), REAL(C3));
  p = ADDED(MULTIPLIED(p, r), REAL(C2));
  p = ADDED(MULTIPLIED(p, r), REAL(C1));
  p = ADDED(MULTIPLIED(p, r), REAL(ONE));
  const ulong n = BITS_OF(moved), scale = POWERS[n & 15] + (n << 48);
  return BITS_OF(ADDED(MULTIPLIED(p, REAL(scale)), REAL(SHIFT))) - (ulong)(SHIFT);
}
