// The callbacks that clang's thread sanitizer calls, and what they hold against a kernel. A single
// thread runs at a time, so whatever is found is found in every play.

#include "races.h"

extern "C" char __ehdr_start, _end;  // of this library: constants lie inside

static Play *play;
static Stamp here;                      // of the accesses to come, but for the thread
static unsigned short epoch[2];         // barriers that ordered device memory, and shared memory
static unsigned short simd_epoch[2][MAX_THREADS / LANES];

void group_begins(Play *given, unsigned group) {
  play = given;
  here.group = group;
  epoch[0] = epoch[1] = 1;
  const Region &shared = play->regions[0];
  __builtin_memset(shared.begin, 0xFF, shared.bytes);  // NaN, as far as it is floats
  __builtin_memset(shared.cells, 0, shared.bytes / shared.grain * sizeof(Cell));
}

void group_ordered(unsigned orders) {
  epoch[0] += orders & ORDERS_DEVICE ? 1 : 0;
  epoch[1] += orders & ORDERS_SHARED ? 1 : 0;
}

void simd_ordered(unsigned simd_group, unsigned orders) {
  simd_epoch[0][simd_group] += orders & ORDERS_DEVICE ? 1 : 0;
  simd_epoch[1][simd_group] += orders & ORDERS_SHARED ? 1 : 0;
}

// Whether nothing orders two accesses.
static bool apart(Stamp a, Stamp b) {
  if (!a.epoch || !b.epoch) return false;
  if (a.group != b.group) return true;
  if (a.thread == b.thread || a.epoch != b.epoch) return false;
  return a.thread / LANES != b.thread / LANES || a.simd_epoch == b.simd_epoch;
}

static bool of_one_simd_group(Stamp a, Stamp b) {
  return a.group == b.group && a.thread / LANES == b.thread / LANES;
}

// Two readers stand for all: of two SIMD groups where there are such.
static void remember(Cell &cell, Stamp reader) {
  Stamp &first = cell.reads[0], &second = cell.reads[1];
  if (!apart(first, reader)) first = reader;
  else if (!apart(second, reader) || of_one_simd_group(first, second)) second = reader;
}

static void report(Kind kind, const Region *region, const char *address, bool writes, Stamp other) {
  Fault fault = {kind, here.thread, here.group, other.thread, other.group};
  fault.buffer = region ? int(region - play->regions) - 1 : -2;
  fault.offset = region ? address - region->begin : 0;
  fault.writes = writes;
  fail(fault);
}

static const Region *holding(const char *address, u64 slack) {
  static const Region *last;
  const Region *regions = play->regions, *end = regions + play->region_count;
  auto holds = [&](const Region *r) {
    return address + slack >= r->begin && address < r->begin + r->bytes + slack;
  };
  if (last >= regions && last < end && holds(last)) return last;
  for (const Region *r = regions; r < end; r++)
    if (holds(r)) return slack ? r : last = r;
  return nullptr;
}

static void access(const char *address, u64 bytes, bool writes) {
  here.thread = player_rank();
  const char *stack = play->stacks + here.thread * play->stack_bytes;
  if (address >= stack && address < stack + play->stack_bytes) return;
  const Region *region = holding(address, 0);
  if (!region && !writes && address >= &__ehdr_start && address < &_end) return;
  if (!region || address + bytes > region->begin + region->bytes)
    return report(OUTSIDE, region ? region : holding(address, 1 << 16), address, writes, {});
  if (!region->cells) return writes ? report(READ_ONLY, region, address, writes, {}) : void();
  bool shared = region == play->regions;
  here.epoch = epoch[shared];
  here.simd_epoch = simd_epoch[shared][here.thread / LANES];
  u64 offset = address - region->begin;
  for (u64 i = offset / region->grain; i <= (offset + bytes - 1) / region->grain; i++) {
    Cell &cell = region->cells[i];
    const char *at = region->begin + i * region->grain;
    if (apart(cell.write, here)) report(RACE, region, at, writes, cell.write);
    if (shared && !writes && !cell.write.epoch) report(UNWRITTEN, region, at, writes, {});
    if (!writes) remember(cell, here);
    for (Stamp reader : cell.reads)
      if (writes && apart(reader, here)) report(RACE, region, at, writes, reader);
    if (writes) cell.write = here;
  }
}

extern "C" {
#define ACCESSES(bytes)                                                            \
  void __tsan_read##bytes(const char *a) { access(a, bytes, false); }              \
  void __tsan_write##bytes(const char *a) { access(a, bytes, true); }              \
  void __tsan_unaligned_read##bytes(const char *a) { access(a, bytes, false); }    \
  void __tsan_unaligned_write##bytes(const char *a) { access(a, bytes, true); }
ACCESSES(1)
ACCESSES(2)
ACCESSES(4)
ACCESSES(8)
ACCESSES(16)

void *__tsan_memcpy(char *to, const char *from, u64 bytes) {
  access(from, bytes, false);
  access(to, bytes, true);
  return __builtin_memcpy(to, from, bytes);
}
void *__tsan_memmove(char *to, const char *from, u64 bytes) {
  access(from, bytes, false);
  access(to, bytes, true);
  return __builtin_memmove(to, from, bytes);
}
void *__tsan_memset(char *to, int value, u64 bytes) {
  access(to, bytes, true);
  return __builtin_memset(to, value, bytes);
}
void __tsan_init() {}

// What C++ leaves undefined, as the undefined-behaviour sanitizer reports it.
static void undefined(Kind kind, int line) {
  Fault fault = {kind, player_rank(), here.group};
  fault.line = line;
  fail(fault);
}
struct Place {
  const char *file;
  int line, column;
};
void __ubsan_handle_out_of_bounds_abort(Place *at) { undefined(BOUNDS, at->line); }
void __ubsan_handle_local_out_of_bounds_abort() { undefined(BOUNDS, 0); }
void __ubsan_handle_type_mismatch_v1_abort(Place *at) { undefined(MISALIGNED, at->line); }
void __ubsan_handle_shift_out_of_bounds_abort(Place *at) { undefined(SHIFT, at->line); }
void __ubsan_handle_divrem_overflow_abort(Place *at) { undefined(DIVISION, at->line); }
}
