// Conversions that clang calls by name where the CPU has none, and no library is linked.

extern "C" __attribute__((visibility("hidden"))) __bf16 __truncsfbf2(float x) {
  unsigned bits = __builtin_bit_cast(unsigned, x);
  if (x != x) bits |= 1 << 22;  // stays a NaN
  else bits += 0x7FFF + (bits >> 16 & 1);  // to the nearest, ties to even
  return __builtin_bit_cast(__bf16, (unsigned short)(bits >> 16));
}
