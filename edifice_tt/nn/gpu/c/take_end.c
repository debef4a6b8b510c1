// What `take.c` tells the host: the token is `id`, where no edge is near.
    if (THREAD == 0) {
      GLOBAL uint *end = drawn + row * DRAWN;
      const bool is_inside = sought - before > margin && before + COUNTED(id) - sought > margin;
      const bool is_known = is_finite && (!draws || (FROM(2) && is_inside));
      end[0] = is_known ? (uint)id : 0xFFFFFFFFu;
      end[1] = LOGIT(id);
      end[2] = bits_of(top);
      end[3] = (uint)lows;
      end[4] = (uint)(lows >> 32);
      end[5] = (uint)highs;
      end[6] = (uint)(highs >> 32);
    }
  }
