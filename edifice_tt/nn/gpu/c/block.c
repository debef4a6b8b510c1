// One block format. Made from `nn/formats` and put before this room: FORMAT, which gives a name of
// this format's own, `word`, the UNIT bytes that are read together, and of a block its
// BLOCK_WEIGHTS, BLOCK_WORDS, NUMBER, SCALE and MINIMUM.
typedef WORD_TYPE FORMAT(word);
FUNCTION float FORMAT(number_at)(const GLOBAL WORD_TYPE *p, int s, int j) { return (float)(NUMBER); }
FUNCTION float FORMAT(scale_at)(const GLOBAL WORD_TYPE *p, int s) { return SCALE; }
FUNCTION float FORMAT(minimum_at)(const GLOBAL WORD_TYPE *p, int s) { return MINIMUM; }

// The block in which the 16 weights number `i` of a row stand.
FUNCTION const GLOBAL WORD_TYPE *FORMAT(block_at)(const GLOBAL WORD_TYPE *w, int row, int i) {
  return w + (ulong)row * (DEPTH / BLOCK_WEIGHTS * BLOCK_WORDS) + i / BLOCK_SIXTEENS * BLOCK_WORDS;
}
