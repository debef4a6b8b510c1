// A team: threads that share out the parts of a job. Knows no model.
//
// One leads: it runs the program, and posts a job. Helpers, made by `team.py`, run `assist`. Each begins
// its own share of the parts, in order, and then what others have not begun; so nobody waits for a
// helper that does not come. Which thread does a part changes no bit: a part is some columns or heads,
// each computed whole.

typedef void job(const void *of, long part, long member);

typedef struct { // alone in its line, as memory is handed out between cores
  _Alignas(LINE) unsigned long left; // the number of the job, and how many parts nobody has begun
} lane;

typedef struct { // as `team.py` writes it
  _Alignas(LINE) void (*give_way)(void); // lets another thread have the core
  long members, least;                   // threads; the fewest weights that are worth a part
  long over;                             // whether helpers are to return: see `assist`
  _Alignas(LINE) job *job;
  const void *of;
  long parts;
  long resting;                  // jobs that the leader does alone
  _Alignas(LINE) long finished;  // parts
  lane of_member[MEMBERS];
} team;

#define LEFT 0xffffffffUL // the lower half of a lane
#define MOST_TURNS 2000   // that a thread waits before it gives way, some 20 microseconds
#define MOST_IDLE 4000    // turns that a helper waits for more, less than a millisecond
#define REST 64           // jobs that are done alone after a helper was late: others need its core

static inline void wait_a_turn(team *t, unsigned long turn) {
  if (turn > MOST_TURNS) t->give_way();
#if defined(__x86_64__)
  else __builtin_ia32_pause();
#elif defined(__aarch64__)
  else __asm__ volatile("isb");
#endif
}

// A clock, of any unit.
static inline unsigned long ticks(void) {
#if defined(__x86_64__)
  return __builtin_ia32_rdtsc();
#elif defined(__aarch64__)
  unsigned long now;
  __asm__ volatile("mrs %0, cntvct_el0" : "=r"(now));
  return now;
#else
  return 0;
#endif
}

// Do what is left of one member's share; returns how many parts.
static inline long help_one(team *t, long of_member, long member) {
  unsigned long *left = &t->of_member[of_member].left;
  unsigned long seen = __atomic_load_n(left, __ATOMIC_ACQUIRE);
  for (long count = 0;;) {
    if (!(seen & LEFT)) return count;
    // Perhaps those of the next job: then the lane has changed as well.
    job *job = __atomic_load_n(&t->job, __ATOMIC_RELAXED);
    const void *of = __atomic_load_n(&t->of, __ATOMIC_RELAXED);
    long parts = __atomic_load_n(&t->parts, __ATOMIC_RELAXED);
    if (!__atomic_compare_exchange_n(left, &seen, seen - 1, 0, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
      continue;
    job(of, parts * (of_member + 1) / t->members - (long)(seen & LEFT), member);
    __atomic_fetch_add(&t->finished, 1, __ATOMIC_RELEASE);
    seen = __atomic_load_n(left, __ATOMIC_ACQUIRE);
    count++;
  }
}

static long help(team *t, long member) {
  long count = 0;
  for (long i = 0; i < t->members; i++) count += help_one(t, (member + i) % t->members, member);
  return count;
}

// What a helper does until it is over. Then it lingers, for the draws and the next step come soon; only
// where the team is closed it returns at once.
enum { GOES_ON, LINGERS, CLOSED };

static void assist(team *t, long member) {
  for (unsigned long turn = 0; t;) {
    long over = __atomic_load_n(&t->over, __ATOMIC_ACQUIRE);
    if (over == CLOSED || (over == LINGERS && turn > MOST_IDLE)) return;
    if (help(t, member)) turn = 0;
    else wait_a_turn(t, turn++);
  }
}

// All parts, which the threads of a team share, if there is one; returns when all are finished.
static void do_parts(team *t, long parts, job *job, const void *of) {
  if (!t || parts == 1 || t->resting) {
    for (long part = 0; part < parts; part++) job(of, part, 0);
    if (t && t->resting) t->resting--;
    return;
  }
  __atomic_store_n(&t->job, job, __ATOMIC_RELAXED);
  __atomic_store_n(&t->of, of, __ATOMIC_RELAXED);
  __atomic_store_n(&t->parts, parts, __ATOMIC_RELAXED);
  __atomic_store_n(&t->finished, 0, __ATOMIC_RELAXED);
  for (long i = 0; i < t->members; i++) {
    unsigned long *left = &t->of_member[i].left;
    long share = parts * (i + 1) / t->members - parts * i / t->members;
    __atomic_store_n(left, ((*left | LEFT) + 1) | share, __ATOMIC_RELEASE);
  }
  unsigned long posted = ticks(), turn = 0;
  help(t, 0);
  unsigned long done = ticks();
  while (__atomic_load_n(&t->finished, __ATOMIC_ACQUIRE) < parts) wait_a_turn(t, turn++);
  if (turn > MOST_TURNS && ticks() - done > 2 * (done - posted)) t->resting = REST;
}

// The team whose address stands there, or none.
static inline team *team_at(const int *address) {
  team *t;
  __builtin_memcpy(&t, address, sizeof t);
  return t;
}
