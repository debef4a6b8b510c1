"""Sample answers to a question whose answer we know, and see what each way of choosing gives.

python examples/best_of_n.py            # 16 answers of SmolLM2-135M
"""

import sys

import edifice_tt as et

n = int(sys.argv[1]) if len(sys.argv) > 1 else 16
lm = et.load_pretrained("smollm2-135m")
question = [{"role": "user", "content": "What is the capital of France?"}]
pool = et.score(lm, et.generate(lm, question, n=n, seed=0, max_tokens=24), scorer="logprob")

right = [candidate.index for candidate in pool if "Paris" in candidate.text]
print(f"{len(right)} of {n} candidates name Paris")
# The first words hold the answer: who was cut off after 24 tokens votes, too.
vote = {"answer": r"regex:\b(Paris|Lyon|Rome)\b", "cut_off": "vote"}
for rule, options in (("best_of_n", {}), ("majority", vote)):
    choice = et.select(pool, rule, **options)
    mark = "right" if choice.index in right else "wrong"
    print(f"{rule}: candidate {choice.index} is {mark}: {choice.text.strip()!r}")

# The same seed gives the same candidates, and fewer of them are the first of these.
again = et.generate(lm, question, n=2, seed=0, max_tokens=24)
assert [c.text for c in again] == [c.text for c in pool.candidates[:2]]
