// Numbers of 64 bits, of which each product and each sum is rounded once, to the nearest even, as
// IEEE 754 prescribes. Where a device has none they are made of whole numbers: those that are met
// here are neither infinite nor as small as denormal ones.

// The upper half of a product.
FUNCTION ulong high_of(ulong a, ulong b) {
  const ulong low = 0xFFFFFFFFu, middle = (a >> 32) * (b & low) + ((a & low) * (b & low) >> 32);
  const ulong other = (a & low) * (b >> 32) + (middle & low);
  return (a >> 32) * (b >> 32) + (middle >> 32) + (other >> 32);
}

#ifdef HAS_DOUBLES
#define REAL_OF(bits) ((real)AS_FLOAT(bits))
#define NEGATIVE(x) (-(x))
#else
typedef ulong real;
#define REAL(bits) ((ulong)(bits))
#define BITS_OF(x) (x)
#define SIGN ((ulong)1 << 63)
#define NEGATIVE(x) ((x) ^ SIGN)
#define ADDED(a, b) added(a, b)
#define MULTIPLIED(a, b) multiplied(a, b)
#define EXPONENT(x) ((int)((x) >> 52 & 0x7FF))
#define DIGITS(x) (((x) & 0xFFFFFFFFFFFFF) | (ulong)1 << 52)

FUNCTION ulong REAL_OF(uint bits) {
  const ulong sign = (ulong)(bits >> 31) << 63, size = bits & 0x7FFFFFFFu;
  return size < 0x800000 ? sign : sign | ((size << 29) + ((ulong)896 << 52));
}

// m * 2^(exponent - 1086), where the lowest bit of m stands for all below.
FUNCTION ulong rounded(ulong sign, int exponent, ulong m) {
  if (!m) return 0;
  for (int step = 32; step; step /= 2)
    if (!(m >> (64 - step))) {
      m <<= step;
      exponent -= step;
    }
  const ulong digits = m >> 11, rest = m & 0x7FF;
  const ulong up = rest > 0x400 || (rest == 0x400 && (digits & 1));
  return sign | (((ulong)(exponent - 1) << 52) + digits + up);
}

FUNCTION ulong multiplied(ulong a, ulong b) {
  if (!EXPONENT(a) || !EXPONENT(b)) return 0;
  const ulong x = DIGITS(a) << 11, y = DIGITS(b) << 11;
  const ulong m = high_of(x, y) | (x * y != 0);
  return rounded((a ^ b) & SIGN, EXPONENT(a) + EXPONENT(b) - 1022, m);
}

FUNCTION ulong added(ulong a, ulong b) {
  const bool is_less = a << 1 < b << 1;
  const ulong more = is_less ? b : a, less = is_less ? a : b;
  if (!EXPONENT(less)) return more;
  const int apart = EXPONENT(more) - EXPONENT(less);
  const ulong x = DIGITS(more) << 10;
  ulong y = DIGITS(less) << 10;
  if (apart) y = apart < 64 ? y >> apart | (y << (64 - apart) != 0) : 1;
  return rounded(more & SIGN, EXPONENT(more) + 1, (a ^ b) & SIGN ? x - y : x + y);
}
#endif
