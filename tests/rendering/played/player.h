// What a dialect's header asks of the player: where a thread is, and to wait for others.

#pragma once

struct Index {
  unsigned x, y, z;
};

// Memory that a barrier orders, as bits.
enum { ORDERS_DEVICE = 1, ORDERS_SHARED = 2 };

extern "C" {
// Constant in a thread, so they may be read once and kept over a barrier.
__attribute__((const)) Index player_group();    // its group's position in the grid
__attribute__((const)) Index player_thread();   // its position in the group
__attribute__((const)) Index player_groups();   // how many groups
__attribute__((const)) Index player_threads();  // how many threads in a group
__attribute__((const)) unsigned player_rank();  // its number in the group, x first
__attribute__((const)) unsigned player_lanes();  // how many threads its SIMD group has

// Waits for all threads of the group. `line`: of the source, the same for all.
void player_barrier(unsigned orders, int line);
// Waits for those of the SIMD group.
void player_simd_barrier(unsigned orders, int line);
// Waits for those of the SIMD group and gives what each brought, `LANE_BYTES` a lane.
const char *player_exchange(const void *mine, unsigned bytes, int line);
// Stops the play: what is asked for has no meaning.
[[noreturn]] void player_refuse(int line);
}

#define SHARED static __attribute__((section("shared"), used))
enum { LANES = 32, LANE_BYTES = 16 };
#define UNSEEN __attribute__((disable_sanitizer_instrumentation, noinline))

// What every lane brought.
template <class T>
struct Brought {
  static_assert(sizeof(T) <= LANE_BYTES, "more than a lane can bring");
  const char *all;
  int line;
  UNSEEN Brought(T mine, int line) : all(player_exchange(&mine, sizeof(T), line)), line(line) {}
  UNSEEN T operator[](unsigned lane) const {
    if (lane >= player_lanes()) player_refuse(line);
    return *(const T *)(all + lane * LANE_BYTES);
  }
};

// Of lane `from`; a lane beyond the SIMD group's 32 keeps its own.
template <class T>
T from_lane(T mine, unsigned from, int line) {
  Brought<T> brought(mine, line);
  return from < LANES ? brought[from] : mine;
}

template <class T, class Combine>
T over_lanes(T mine, Combine combine, int line) {
  Brought<T> brought(mine, line);
  T all = brought[0];
  for (unsigned lane = 1; lane < player_lanes(); lane++) all = combine(all, brought[lane]);
  return all;
}
