"""Train a verifier on problems whose answers a program knows, and see what it buys on new ones.

python examples/train_a_scorer.py            # 100 problems to train on, 50 to measure
python examples/train_a_scorer.py --quick    # 40 and 20
"""

import sys
from pathlib import Path
from tempfile import mkdtemp

import edifice_tt as et
from edifice_tt.study.tasks import find_task

small = len(sys.argv) > 1 and sys.argv[1] != "--quick"  # a number: only to see that it runs
counts = {"train": 8, "test": 3} if small else {"train": 100, "test": 50}
if "--quick" in sys.argv:
    counts = {"train": 40, "test": 20}
folder, task, lm = Path(mkdtemp()), find_task("largest"), et.load_pretrained("smollm2-135m")

pools = {}
for split, num in counts.items():
    path = folder / f"{split}.jsonl"
    problems = et.make_problems(task, num, split=split)
    sampling = {"stop": task.stop, "max_tokens": task.max_tokens, "answer": task.answer}
    print(f"sampling 16 answers to each of {num} problems into {path}")
    et.generate_pools(lm, problems, path, n=16, seed=0, temperature=0.8, **sampling)
    pools[split] = list(et.read_pools(path))

fit = et.fit_scorer(lm, pools["train"], seed=0)
fit.verifier.save(folder / "verifier.safetensors")
print(f"trained on {fit.num_train} problems: {folder / 'verifier.safetensors'}")

scored = [et.score(lm, et.score(lm, pool), fit.verifier) for pool in pools["test"]]
curve = et.scaling_curve(scored, ("random", "majority", "best_of_n", "oracle"), (1, 4, 16))
print(f"{'accuracy of the best of':30}", *(f"{k:5}" for k in curve.ks))
for rule in curve.rules:
    print(f"{rule.label:30}", *(f"{accuracy:5.2f}" for accuracy in rule.accuracy))

accuracy = {rule.label: rule.accuracy[-1] for rule in curve.rules}
assert small or accuracy["best_of_n · verifier"] > accuracy["best_of_n · logprob"]
