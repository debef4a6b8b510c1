// Which positions a query sees. SHARED_PARTS parts of the memory that all share come first, then
// those of each text's own. `rows` begins with how many positions both held before (see `KVCache`).
#define UNSEEN -3e38f // what no score is
#define MIN(a, b) ((a) < (b) ? (a) : (b))
#define MAX(a, b) ((a) > (b) ? (a) : (b))
#define IS_SHARED(part) ((part) < SHARED_PARTS)
#define BEGIN(part) ((IS_SHARED(part) ? (part) : (part) - SHARED_PARTS) * POSITIONS) // in its memory
#define BEFORE(part) (IS_SHARED(part) ? 0 : rows[0]) // positions of the text before its memory
#define SEEN(part, token) (IS_SHARED(part) ? rows[0] : MIN(rows[1] + (token) + 1, ROOM))
#define OLDEST(token) (WINDOW ? rows[0] + rows[1] + (token) - WINDOW : -1) // it sees those after it
// Whether one of these tokens may see a position of a part.
#define IS_SEEN(part, first, last) \
  (BEGIN(part) < SEEN(part, last) && BEFORE(part) + BEGIN(part) + POSITIONS - 1 > OLDEST(first))
