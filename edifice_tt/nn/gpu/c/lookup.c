// out (COUNT, DEPTH): the rows of w that `ids` name; zeros for an id that is not in 0 .. ROWS - 1.
  const int i = GROUP(1) * THREADS + THREAD, s = i % BLOCK_SIXTEENS, id = ids[GROUP(0)];
  if (i < SIXTEENS) {
    const bool is_known = id >= 0 && id < ROWS;
    const GLOBAL FORMAT(word) *p = FORMAT(block_at)(w, is_known ? id : 0, i);
    const float scale = FORMAT(scale_at)(p, s), minimum = FORMAT(minimum_at)(p, s);
    for (int j = 0; j < 16; j++) {
      const float number = FORMAT(number_at)(p, s, j) * scale + minimum;
      out[(GROUP(0) * SIXTEENS + i) * 16 + j] = is_known ? number : 0;
    }
  }
