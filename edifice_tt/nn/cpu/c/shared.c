// Products of any weights, whose columns a team shares.

typedef struct {
  team *team;   // or none
  float *panel; // of the first member; each has its own, for MOST_COLUMNS x `deepest`
  long deepest; // of all columns, with a gap behind
} workers;

typedef struct {
  float *out; // (rows, columns)
  weight w;
  long columns;
} target;

// What a product takes of x: as it is, or rounded as `int8.c` or `halves.c` do.
typedef enum { EXACT, TO_INT8, TO_BFLOATS, TO_HALVES } rounding;

static WIDE void round_to(rounding by, void *to, const float *x, const int *at, range some, long rows,
                          long depth) {
  if (by == TO_INT8) round_rows(to, x, at, some, rows, depth);
#if BY_BFLOATS
  if (by == TO_BFLOATS) round_to_bfloats(to, x, at, some, depth);
#endif
#if HAS_HALVES
  if (by == TO_HALVES) narrow_rows(to, x, at, some, depth);
#endif
}

// Some products of the same rows of x, of all or those that `at` lists: `rounded` are these where a
// weight takes rounded activations.
typedef struct {
  const float *x;
  const void *rounded;
  const int *at;
  long rows, depth;
  const target *targets;
  long count, wide; // targets, and the columns of a part
  int add;
  workers by;
} products;

static inline long parts_of(const products *p, long target) {
  return (p->targets[target].columns + p->wide - 1) / p->wide;
}

static WIDE void multiply_part(const void *of, long part, long member) {
  const products *p = of;
  const target *t = p->targets;
  for (; part >= parts_of(p, t - p->targets); t++) part -= parts_of(p, t - p->targets);
  range some = {part * p->wide, MIN(t->columns, (part + 1) * p->wide)};
  float *panel = p->by.panel + member * MOST_COLUMNS * p->by.deepest;
  if (t->w.kind < FIRST_GROUPED)
    product(t->out, p->x, p->at, p->rows, t->w, t->columns, some, p->depth, panel, p->add);
#if HAS_HALVES
  else if (t->w.kind > FIRST_AS_HALVES)
    product_halves(t->out, p->rounded, p->at, p->rows, t->w, t->columns, some, p->depth, panel, p->add);
#endif
#if BY_BFLOATS
  else if (t->w.kind > FIRST_AS_BFLOATS)
    product_bfloats(t->out, p->rounded, p->at, p->rows, t->w, t->columns, some, p->depth, p->add);
#endif
  else
    product_int8(t->out, p->rounded, p->at, p->rows, t->w, t->columns, some, p->depth, panel, p->add);
}

// Parts are a few per member, so that one that is late holds up the others for little, and whole
// groups of 16 columns.
static WIDE void multiply_all(products p) {
  team *t = p.by.team;
  long columns = 0, parts = 0, wanted = 1;
  for (long i = 0; i < p.count; i++) columns += p.targets[i].columns;
  long weights = columns * p.depth * MIN(p.rows, GROUP);
  if (t) wanted = MAX(1, MIN(PARTS_EACH * t->members, weights / t->least));
  p.wide = (columns + 16 * wanted - 1) / (16 * wanted) * 16;
  for (long i = 0; i < p.count; i++) parts += parts_of(&p, i);
  do_parts(wanted > 1 ? t : 0, parts, multiply_part, &p);
}

// The whole of a layer: any number of rows, rounded on the way.
static WIDE void linear_rounded(target to, const float *x, const int *at, long rows, long depth,
                                workers by, rounding how, void *room) {
  float *out = to.out;
  for (long first = 0; first < rows; first += GROUP) {
    const float *from = at ? x : x + first * depth;
    const int *some = at ? at + first : 0;
    long group = MIN(GROUP, rows - first);
    to.out = at ? out : out + first * to.columns;
    round_to(how, room, from, some, (range){0, group}, group, depth);
    multiply_all((products){from, room, some, group, depth, &to, 1, .by = by});
  }
}
