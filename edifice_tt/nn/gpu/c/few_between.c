// All threads of all groups come here: PoCL computes wrong numbers where a barrier stands behind a
// condition, be it the same for a whole group.
  BARRIER;
