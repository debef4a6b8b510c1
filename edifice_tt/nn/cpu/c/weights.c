// Weights as they are stored: rows of floats, or of blocks of 32 as GGUF files hold them, or for
// products in whole numbers 16 rows at a time.

typedef enum { F32, F16, BF16, Q4_0, Q4_1, Q8_0, Q4_0x16, Q4_1x16, Q8_0x16 } kind;
typedef struct {
  const void *data;  // (columns, depth)
  const float *bias; // (columns), or none
  kind kind;
} weight;

typedef unsigned char octets __attribute__((ext_vector_type(16), aligned(1)));
typedef signed char signed_octets __attribute__((ext_vector_type(16), aligned(1)));
typedef float floats __attribute__((ext_vector_type(16), aligned(4)));
typedef _Float16 halves __attribute__((ext_vector_type(16), aligned(2)));
typedef unsigned short shorts __attribute__((ext_vector_type(16), aligned(2)));
typedef unsigned int words __attribute__((ext_vector_type(16), aligned(4)));
#define FLOATS(b) __builtin_convertvector(b, floats)
#define HALF(p) ((float)*(const _Float16 *)(p))

// Products of a half with a few bits are exact, so these are the very numbers that de-quantising
// in float32 gives.
static inline WIDE void unpack(float *y, const unsigned char *q, long depth, kind kind) {
  for (float *end = y + depth; y < end; y += 32) {
    float d = kind == F16 || kind == BF16 ? 0 : HALF(q);
    if (kind == F16 || kind == BF16) {
      for (int i = 0; i < 32; i += 16)
        if (kind == F16) *(floats *)(y + i) = FLOATS(*(const halves *)(q + 2 * i));
        else *(words *)(y + i) = __builtin_convertvector(*(const shorts *)(q + 2 * i), words) << 16;
      q += 64;
    } else if (kind == Q4_0) {
      octets b = *(const octets *)(q + 2);
      *(floats *)y = (FLOATS(b & 15) - 8) * d;
      *(floats *)(y + 16) = (FLOATS(b >> 4) - 8) * d;
      q += 18;
    } else if (kind == Q4_1) {
      float m = HALF(q + 2);
      octets b = *(const octets *)(q + 4);
      *(floats *)y = FLOATS(b & 15) * d + m;
      *(floats *)(y + 16) = FLOATS(b >> 4) * d + m;
      q += 20;
    } else {
      const signed_octets *b = (const signed_octets *)(q + 2);
      *(floats *)y = FLOATS(b[0]) * d;
      *(floats *)(y + 16) = FLOATS(b[1]) * d;
      q += 34;
    }
  }
}

static const long block_bytes[] = {128, 64, 64, 18, 20, 34}; // of 32 weights of each kind

// Where a row begins. Rows of floats need be no multiple of a block.
static inline const unsigned char *row_of(weight w, long row, long depth) {
  return (const unsigned char *)w.data + row * depth * block_bytes[w.kind] / 32;
}

// Groups of 16 rows (columns of the product), block by block: 16 scales in float32, or 16 halves and
// 16 minima; then of each column in turn 4 bytes, as in the file's block. The last group is filled up
// with zeros.

static const long group_bytes[] = {[Q4_0x16] = 320, [Q4_1x16] = 320, [Q8_0x16] = 576};

// y (depth): one row of the weight.
static WIDE void unpack_grouped(float *y, weight w, long row, long depth) {
  const unsigned char *p =
      (const unsigned char *)w.data + row / 16 * (depth / 32) * group_bytes[w.kind];
  long n = row % 16;
  for (float *end = y + depth; y < end; y += 32, p += group_bytes[w.kind]) {
    float d = w.kind == Q4_1x16 ? HALF(p + 2 * n) : ((const float *)p)[n];
    for (int k = 0; k < 32; k++) {
      int in = w.kind == Q8_0x16 ? k : k % 16, q = p[64 + in / 4 * 64 + n * 4 + in % 4];
      if (w.kind == Q8_0x16) y[k] = (signed char)q * d;
      else q = k < 16 ? q & 15 : q >> 4;
      if (w.kind == Q4_0x16) y[k] = (q - 8) * d;
      if (w.kind == Q4_1x16) y[k] = q * d + HALF(p + 32 + 2 * n);
    }
  }
}

// y (depth): a row of floats that is copied, or of blocks that are unpacked.
static WIDE void unpack_row(float *y, weight w, long row, long depth) {
  if (w.kind > Q8_0) {
    unpack_grouped(y, w, row, depth);
    return;
  }
  const unsigned char *from = row_of(w, row, depth);
  if (w.kind == F32)
    for (long k = 0; k < depth; k++) y[k] = ((const float *)from)[k];
  if (w.kind == F16) unpack(y, from, depth, F16);
  if (w.kind == BF16) unpack(y, from, depth, BF16);
  if (w.kind == Q4_0) unpack(y, from, depth, Q4_0);
  if (w.kind == Q4_1) unpack(y, from, depth, Q4_1);
  if (w.kind == Q8_0) unpack(y, from, depth, Q8_0);
}

// out (count, depth): the rows of w that `ids` name; zeros for an id that is not in 0 .. rows - 1.
static WIDE void lookup(float *out, const int *ids, long count, weight w, long rows, long depth) {
  for (long i = 0; i < count; i++)
    if (ids[i] >= 0 && ids[i] < rows) unpack_row(out + i * depth, w, ids[i], depth);
    else
      for (long k = 0; k < depth; k++) out[i * depth + k] = 0;
}
