// How keys and values are kept: as float32, or as float16, whose 16 bits are made and read in whole
// numbers, as those in `blocks.c`. What is beyond the largest half is kept as that.
#if HALVES
FUNCTION uint kept_of(float x) {
  const uint bits = AS_UINT(x), size = bits & 0x7FFFFFFFu, sign = bits >> 16 & 0x8000u;
  if (size > 0x7F800000u) return sign | 0x7E00u;
  if (size > 0x477FE000u) return sign | 0x7BFFu;
  if (size < 0x38800000u) return sign | (AS_UINT(AS_FLOAT(size) + 0.5f) - 0x3F000000u);
  return sign | (size - 0x38000000u + 0xFFFu + (size >> 13 & 1u)) >> 13;
}

FUNCTION float as_kept(uint bits) {
  const uint size = bits & 0x7FFFu;
  const float number = size < 0x400u ? (float)size * 5.9604644775390625e-8f
                                     : AS_FLOAT((size << 13) + (size < 0x7C00u ? 0x38000000u : 0x70000000u));
  return bits & 0x8000u ? -number : number;
}
#define KEPT(x) kept_of(x)

FUNCTION float4 four_kept(ushort4 four) {
  return FLOAT4(as_kept(four.x), as_kept(four.y), as_kept(four.z), as_kept(four.w));
}
#define FOUR_KEPT(four) four_kept(four)
#else
#define KEPT(x) (x)
#define FOUR_KEPT(four) (four)
#endif
