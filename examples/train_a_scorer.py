"""Make smollm2-verifier from nothing and measure what it buys; run it again to go on.

python examples/train_a_scorer.py            # all tasks
python examples/train_a_scorer.py --quick    # three tasks and fewer problems
"""

from argparse import ArgumentParser
from pathlib import Path

from report.families import family_figure, family_table

import edifice_tt as et
from edifice_tt.pools.tasks import find_task

parser = ArgumentParser()
parser.add_argument("folder", type=Path, nargs="?", default=Path("smollm2-verifier"))
parser.add_argument("--quick", action="store_true")
parser.add_argument("--tasks", nargs="+", choices=et.list_tasks(), default=et.list_tasks())
parser.add_argument("--num", type=int, nargs=2, default=(100, 80), help="to train on, to measure")
asked, lm = parser.parse_args(), et.load_pretrained("smollm2-135m")
if asked.quick:
    asked.tasks, asked.num = ["largest", "repeated-word", "smallest"], (40, 20)
asked.folder.mkdir(exist_ok=True)

pools = {}
for split, num in zip(("train", "test"), asked.num, strict=True):
    for task in asked.tasks:
        path, problems = (
            asked.folder / f"{task}-{split}.jsonl",
            et.make_problems(task, num, 0, split),
        )
        print(f"16 answers to each of {num} problems: {path}", flush=True)
        how = {"n": 16, "resume": path.exists(), **find_task(task).sampling}
        et.generate_pools(lm, problems, path, **how)
        pools[task, split] = list(et.read_pools(path))

how = {"layer": 18, "name": "smollm2-verifier"}
training = [pool for task in asked.tasks for pool in pools[task, "train"]]
fit = et.fit_scorer(lm, training, seed=0, checkpoint=asked.folder / "fit.partial", **how)
fit.verifier.save(asked.folder / "smollm2-verifier.safetensors")

curves, duels, rules = {}, {}, ["random", "majority", "best_of_n", "weighted", "oracle"]
for task in asked.tasks:
    scored = [et.score(lm, et.score(lm, pool), fit.verifier) for pool in pools[task, "test"]]
    # The card's figures were measured with every answer voting, those that were cut off too.
    curves[task] = et.scaling_curve(scored, rules, cut_off="vote")
    duels[task] = et.scaling_curve(scored, ["best_of_n"])  # the verifier against log-probability
(asked.folder / "curve.svg").write_bytes(family_figure(curves))
(asked.folder / "table.md").write_text(table := family_table(curves, duels))
print(table)
