// What `keep.c` leaves to the next kernel: it knows the edge, and of the equals the last, `id`.
    if (THREAD == 0) {
      GLOBAL uint *end = to + row * 3;
      end[0] = stays ? edge : at;
      end[1] = (uint)(stays ? last : id);
      end[2] = is_known && FROM(2);
    }
  }
