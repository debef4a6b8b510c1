"""Train all of `test_time_compute` as a verifier that reads tokens: are five digits sorted?"""

import sys
from random import Random
from types import SimpleNamespace

import numpy as np

import edifice_tt as et
from edifice_tt.training import examples, loop, losses, progress

rng, small = Random(0), len(sys.argv) > 1  # small, with a number: only to see that it runs


class Scores(SimpleNamespace):
    def __call__(self, tokens):  # one-hot (B, T, 11) -> (B, T, 1)
        return self.model(tokens).scores


def sort_digits():  # a problem with eight answers; in all but one two digits changed places
    digits, right, rows = rng.sample(range(10), 5), rng.randrange(8), []
    for at in range(8):
        answer, (i, j) = sorted(digits), rng.sample(range(5), 2) if at != right else (0, 0)
        answer[i], answer[j] = answer[j], answer[i]
        rows.append(np.eye(11, dtype=np.float16)[[*digits, 10, *answer]])  # 10 is "="
    pool = et.Pool(str(digits), tuple(et.Candidate(i, "", correct=i == right) for i in range(8)))
    last = np.eye(11, dtype=np.float32)[-1]  # only there, at the end, is a score asked for
    return examples.Example(pool, rows, [last * c.correct for c in pool], [last] * 8)


train, held_out, test = ([sort_digits() for _ in range(8 if small else n)] for n in (240, 60, 200))
model = et.build("test_time_compute", embed_dim=11, hidden_size=32, num_layers=2, dropout=0.0)
schedule = loop.Schedule(4e-3, 0.01, 16, epochs=1 if small else 12, patience=5, seed=0)
training = loop.Loop(Scores(model=model), losses.outcome_loss, (8, 11), schedule)
training.run(progress.Progress(), train, held_out, on_epoch=print)
scores = model(np.stack([row for one in test for row in one.states])).scores[:, -1, 0]
chosen = et.select_best_of_n(scores.reshape(len(test), 8).transpose()).tolist()
right = np.mean([one.right[at] for one, at in zip(test, chosen, strict=True)])
print(f"of {len(test)} new problems the best of 8 is right in {right:.0%}, any one in 12 %")
assert small or right > 0.8
