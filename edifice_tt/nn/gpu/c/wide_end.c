// What a thread found becomes a part of `out`.
  for (int c = 0; c < EACH; c++)
    for (int r = 0; r < HELD; r++) {
      const int row = first_row + r, column = first + c;
#if NORMED
      for (int place = 0; place < TOGETHER; place++) found[place][c][r] /= norms[r];
#endif
      if (row < ALL_ROWS && column < COLUMNS)
        PUT(row, column, found[0][c][r] + BIAS(column), found[TOGETHER - 1][c][r] + OTHER_BIAS(column));
    }
