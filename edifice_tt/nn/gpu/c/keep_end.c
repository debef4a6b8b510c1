    if (THREAD == 0) {
      GLOBAL uint *end = to + row * 3;
      end[0] = stays ? edge : at;
      end[1] = (uint)(stays ? last : id);
      end[2] = is_known && FROM(2);
    }
  }
