// Every access of a kernel to memory, as clang reports them to a thread sanitizer: is it inside a
// buffer, has its content been written, and is no other thread at it with no barrier between?

#pragma once

#include "player.h"

typedef unsigned long u64;

enum { MAX_THREADS = 1024 };

// An access: which thread, and how many barriers before. Packed: 0 is none.
struct Stamp {
  u64 group : 24, epoch : 16, simd_epoch : 14, thread : 10;
};
struct Cell {
  Stamp write, reads[2];
};
struct Region {
  char *begin;
  u64 bytes, grain;  // a cell for each `grain` bytes
  Cell *cells;       // null: only read
};

enum Kind : int {
  NONE, RACE, OUTSIDE, UNWRITTEN, PARTED, REFUSED, READ_ONLY,
  BOUNDS, MISALIGNED, SHIFT, DIVISION,
};
struct Fault {
  int kind;
  unsigned thread, group, other_thread, other_group;
  int buffer;  // -1: shared memory
  u64 offset;
  int writes, line, other_line;
};

struct Play {
  Index groups, threads;
  unsigned backwards;     // the last group first
  const unsigned *order;  // of threads; those of a SIMD group together
  void (*entry)(void **arguments);
  void **arguments;
  char *stacks;
  u64 stack_bytes;
  Region *regions;  // the first is shared memory
  u64 region_count;
  Fault fault;
};

[[noreturn]] void fail(Fault fault);
void group_begins(Play *play, unsigned group);
void group_ordered(unsigned orders);
void simd_ordered(unsigned simd_group, unsigned orders);
