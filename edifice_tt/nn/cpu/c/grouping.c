// Rows of a weight brought together, for `grouping.py`. Block by block, of each field of a block the
// first number of all TOGETHER rows, then the second, and so on.

#define FIELDS 3

typedef struct {
  const unsigned char *rows;
  unsigned char *grouped;
  long count, blocks, bytes;          // of rows, of a row's blocks, of a block's bytes
  struct { long start, stop, size; } fields[FIELDS]; // in bytes; of numbers of that size
} request;

// Of rows that are not there the numbers are 0.
#define EACH_NUMBER(type)                                                                          \
  for (long at = start; at < stop; at += sizeof(type), to += TOGETHER * sizeof(type))              \
    for (long i = 0; i < TOGETHER; i++) {                                                          \
      type number = 0;                                                                             \
      if (i < there) __builtin_memcpy(&number, from + i * row + at, sizeof(type));                 \
      __builtin_memcpy(to + i * sizeof(type), &number, sizeof(type));                              \
    }

static void group(const request *r) {
  unsigned char *to = r->grouped;
  long row = r->blocks * r->bytes;
  for (long first = 0; first < r->count; first += TOGETHER) {
    long there = r->count - first < TOGETHER ? r->count - first : TOGETHER;
    for (long b = 0; b < r->blocks; b++) {
      const unsigned char *from = r->rows + first * row + b * r->bytes;
      for (int f = 0; f < FIELDS; f++) {
        long start = r->fields[f].start, stop = r->fields[f].stop;
        switch (r->fields[f].size) {
          case 1: EACH_NUMBER(unsigned char) break;
          case 2: EACH_NUMBER(unsigned short) break;
          default: EACH_NUMBER(unsigned int)
        }
      }
    }
  }
}
