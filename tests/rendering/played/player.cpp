// Plays the groups of a kernel on one core, a fiber for each thread. A thread runs until it waits;
// the order is given, so a play can be repeated. Needs no library, and knows no dialect.

#include "player.h"

#include "races.h"

enum State : int { READY, AT_BARRIER, AT_SIMD_BARRIER, DONE };

struct Thread {
  void *stack;  // where it stopped
  State state;
  int line;         // where it waits
  unsigned orders;  // what its barrier orders
  unsigned exchanges;
};

static Play *play;
static Thread threads[MAX_THREADS];
static unsigned count, now, group;
static void *scheduler;
static char brought[MAX_THREADS / LANES][2][LANES][LANE_BYTES];

// Saves the registers that a function of x86-64 must keep, and goes on where another stack stopped.
extern "C" void player_switch(void **from, void *to);
enum { SAVED = 7, RETURNS_TO = 6 };
asm(R"(
.text
player_switch:
  pushq %rbp; pushq %rbx; pushq %r12; pushq %r13; pushq %r14; pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15; popq %r14; popq %r13; popq %r12; popq %rbx; popq %rbp
  retq
)");

static char *stack_of(unsigned thread) { return play->stacks + thread * play->stack_bytes; }

static void stop(State state, int line, unsigned orders) {
  threads[now].state = state;
  threads[now].line = line;
  threads[now].orders = orders;
  player_switch(&threads[now].stack, scheduler);
}

static void begin() {
  play->entry(play->arguments);
  stop(DONE, 0, 0);
}

static void go_on(unsigned thread) {
  now = thread;
  player_switch(&scheduler, threads[now].stack);
}

void fail(Fault fault) {
  play->fault = fault;
  player_switch(&threads[now].stack, scheduler);
  __builtin_unreachable();
}

// What threads[first, last) all wait at; false when they part.
static bool together(unsigned first, unsigned last, State state) {
  for (unsigned t = first; t < last; t++)
    if (threads[t].state != state || threads[t].line != threads[first].line) {
      play->fault = {PARTED, first, group, t, group};
      play->fault.line = threads[first].line;
      play->fault.other_line = threads[t].line;
      return false;
    }
  return true;
}

static void release(unsigned first, unsigned last) {
  for (unsigned t = first; t < last; t++) threads[t].state = READY;
}

// Runs a SIMD group until it waits for other ones, or is done. Its threads lie together in the order.
static void run_simd_group(const unsigned *order, unsigned size) {
  unsigned first = order[0] / LANES * LANES, last = first + size;
  for (;;) {
    for (unsigned i = 0; i < size; i++)
      if (threads[order[i]].state == READY) {
        go_on(order[i]);
        if (play->fault.kind) return;
      }
    bool waits = false;
    for (unsigned t = first; t < last; t++) waits |= threads[t].state == AT_SIMD_BARRIER;
    if (!waits || !together(first, last, AT_SIMD_BARRIER)) return;
    simd_ordered(first / LANES, threads[first].orders);
    release(first, last);
  }
}

static void run_group() {
  group_begins(play, group);
  for (unsigned t = 0; t < count; t++) {
    char *base = stack_of(t);
    // 64 bytes are left over, and the stack is as a call leaves it.
    void **top = (void **)(base + play->stack_bytes - 64 - (8 * SAVED + 15) / 16 * 16);
    top[RETURNS_TO] = (void *)begin;
    threads[t] = {top, READY, 0, 0, 0};
  }
  for (;;) {
    for (unsigned i = 0; i < count;) {
      unsigned first = play->order[i] / LANES * LANES;
      unsigned size = count - first < LANES ? count - first : LANES;
      run_simd_group(play->order + i, size);
      if (play->fault.kind) return;
      i += size;
    }
    if (!together(0, count, threads[0].state) || threads[0].state == DONE) return;
    group_ordered(threads[0].orders);
    release(0, count);
  }
}

static Index position(unsigned number, Index sizes) {
  return {number % sizes.x, number / sizes.x % sizes.y, number / sizes.x / sizes.y};
}

// The linker lays shared variables together, of which there is this one at least.
SHARED char none[LANE_BYTES];
extern "C" char __start_shared, __stop_shared;

extern "C" {
#define VISIBLE __attribute__((visibility("default")))
VISIBLE char *player_shared() { return &__start_shared; }
VISIBLE u64 player_shared_bytes() { return &__stop_shared - &__start_shared; }

VISIBLE void player_play(Play *given) {
  play = given;
  count = play->threads.x * play->threads.y * play->threads.z;
  unsigned groups = play->groups.x * play->groups.y * play->groups.z;
  for (unsigned i = 0; i < groups && !play->fault.kind; i++) {
    group = play->backwards ? groups - 1 - i : i;
    run_group();
  }
}

Index player_group() { return position(group, play->groups); }
Index player_thread() { return position(now, play->threads); }
Index player_groups() { return play->groups; }
Index player_threads() { return play->threads; }
unsigned player_rank() { return now; }
unsigned player_lanes() {
  unsigned first = now / LANES * LANES;
  return count - first < LANES ? count - first : LANES;
}
void player_barrier(unsigned orders, int line) { stop(AT_BARRIER, line, orders); }
void player_simd_barrier(unsigned orders, int line) { stop(AT_SIMD_BARRIER, line, orders); }

const char *player_exchange(const void *mine, unsigned bytes, int line) {
  // Two tables in turn: one is read while the fastest lane already brings the next.
  auto table = brought[now / LANES][threads[now].exchanges++ % 2];
  __builtin_memcpy(table[now % LANES], mine, bytes);
  player_simd_barrier(0, line);
  return table[0];
}

void player_refuse(int line) {
  Fault fault = {REFUSED, now, group};
  fault.line = line;
  fail(fault);
}
}
