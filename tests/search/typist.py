"""Rows that write themselves: every token is a word that row and place decide. No model."""

from random import Random

from edifice_tt.search.method import Row


def draw(*key):
    return Random(" ".join(map(str, key))).random()


class Typist:
    """Advances rows; keeps the words of each, so that it can go on after a copy or a resumption."""

    def __init__(self, seed=0, words=None, mean=9):
        self.seed, self.mean = seed, mean
        self.words = {} if words is None else words

    @classmethod
    def resumed(cls, seed, rows):
        """One that knows only what was kept of its rows."""
        return cls(seed, {row["row"]: row["text"].split(" ")[:-1] for row in rows})

    def advance(self, ask):
        for row, parent in zip(ask.rows, ask.parents or (None,) * len(ask.rows), strict=True):
            if row not in self.words:
                self.words[row] = [] if parent is None else list(self.words[parent])
        return [self.write(row, ask.until) for row in ask.rows][::-1]

    def write(self, row, until):
        words, start = self.words[row], len(self.words[row])
        while not self.ended(row):
            words.append(f"w{int(10 * draw(self.seed, row, len(words)))}")
            if until.tokens is not None and len(words) == start + until.tokens:
                break
            if until.delimiter is not None and until.delimiter in words[-1] + " ":
                break
            if until.word is not None and until.word(self.row(row)):
                break
        return self.row(row)

    def ended(self, row):
        words = self.words[row]
        return bool(words) and draw(self.seed, "end", *words[-2:], len(words)) < 1 / self.mean

    def row(self, row):
        words = tuple(self.words[row])
        return Row(
            row,
            "".join(word + " " for word in words),
            len(words),
            self.ended(row),
            answer=words[-1] if words[-1] > "w3" else None,
            score=round(draw(self.seed, "score", *words), 1),
            confidences=tuple(float(word[1:]) for word in words),
            judge_tokens=len(words),
        )
