// Products of rounded rows with a grouped weight, group by group, in tiles of `int8.c` or `amx.c`.

// out (rows, columns) = x W^T, as `product`; x are rows that `round_rows` was given with the same
// `at`. At most GROUP rows. Numbers of 4 or 8 bits are read as fast as others from the panel, into
// which a group of those is unpacked where it serves several tiles. The matrix unit has a panel of its
// own making; what rows it leaves have the same bits from smaller tiles.
static inline __attribute__((always_inline)) WIDE void
product_of(float *out, const rounded *x, const int *at, long rows, const unsigned char *data,
           long columns, range some, long depth, sixteen *panel, int add, kind kind, grouping g) {
  long bytes = depth / g.weights * 16 * g.bytes;
  // Of 16 weights with a scale of their own the unit gains too little to make up for a minimum, or for
  // many rows that it leaves.
  int gains = g.run == 32 || (!g.has_minimum && rows % 16 <= MOST_ROWS);
  int by_unit = AMX_ROWS && rows >= AMX_ROWS && gains;
  long most = by_unit ? AMX_ROWS : MOST_ROWS;
#if AMX_ROWS
  if (by_unit) enter_amx(g.run);
#endif
  for (long n = some.first; n < some.end; n += 16) {
    const unsigned char *group = data + n / 16 * bytes, *next = group + bytes;
    long tiles = (rows + most - 1) / most, steps = (depth + 255) / 256;
    ahead groups = in_shares(next, n + 16 < some.end ? next + bytes : next, tiles * steps);
    ahead *nearer = tiles > 1 ? &groups : 0;
    long wide = MIN(16, some.end - n), m = 0, tile;
#if AMX_ROWS
    if (by_unit) {
      _Alignas(LINE) vec a[GROUP];
      m = rows / AMX_ROWS * AMX_ROWS;
      group_by_unit(a, x, rows, m, group, depth, panel, kind, g, &groups);
      for (long i = 0; i < m; i++) {
        float *to = out + (at ? at[i] : i) * columns + n;
        store(to, add ? load(to, wide) + a[i] : a[i], wide);
      }
    }
#endif
    int once = rows - m > MOST_ROWS && g.bits != 4 && g.bits != 8;
    if (once) unpack_group(panel, group, depth, kind, g);
    for (; m < rows; m += tile) {
      float last[MOST_ROWS][16], *to[MOST_ROWS], *into[MOST_ROWS];
      for (tile = MOST_ROWS; tile > rows - m;) tile /= 2;
      for (int i = 0; i < tile; i++) {
        to[i] = into[i] = out + (at ? at[m + i] : m + i) * columns + n;
        if (wide == 16) continue;
        into[i] = last[i];
        for (int j = 0; j < wide; j++) last[i][j] = to[i][j];
      }
#define TILE(size) \
  if (tile == size && once) \
    whole_tile(into, x + m, rows, group, panel, depth, kind, g, add, nearer, size); \
  if (tile == size && !once) \
    whole_tile(into, x + m, rows, group, 0, depth, kind, g, add, nearer, size);
      TILE(1)
#if MOST_ROWS >= 4
      TILE(2) TILE(4)
#endif
#if MOST_ROWS >= 8
      TILE(8)
#endif
      for (int i = 0; i < tile && wide < 16; i++)
        for (int j = 0; j < wide; j++) to[i][j] = last[i][j];
    }
  }
#if AMX_ROWS
  if (by_unit) leave_amx();
#endif
}

// For each kind a copy of its own, in which the grouping is a constant. The bias comes last.
static WIDE void product_int8(float *out, const rounded *x, const int *at, long rows, weight w,
                              long columns, range some, long depth, float *panel, int add) {
  switch (w.kind) {
#define PRODUCT(name, ...) \
  case name##_grouped: \
    product_of(out, x, at, rows, w.data, columns, some, depth, (sixteen *)panel, add, \
               name##_grouped, (grouping){__VA_ARGS__}); \
    break;
    GROUPED(PRODUCT)
  default: break;
  }
  for (long i = 0; i < rows && w.bias; i++)
    for (long n = some.first; n < some.end; n++) out[(at ? at[i] : i) * columns + n] += w.bias[n];
}
