"""A search beside a plain pool, for tests of the report."""

from dataclasses import replace

import edifice_tt as et
from edifice_tt.pools.pool import PoolFile
from edifice_tt.study.beside import compare_search

TEXT = "first step </script>\nthe rest"


def searched(pools, path):
    """Searches by the judge on these problems, and how they stand beside the pools."""
    pools, found = list(pools), []
    for pool in pools:
        one = replace(pool.candidates[0], text=TEXT, num_tokens=13, token_ids=(), answer="7")
        rows = (
            replace(one, index=0, finish_reason="dropped", correct=False, scores={"judge": 0.25}),
            replace(one, index=1, correct=True, scores={"judge": 0.5}),
            replace(one, index=2, correct=True, scores={"judge": 0.75}, parent=0, begun=4),
            replace(one, index=3, correct=False, scores={"judge": 0.5}, parent=2, begun=9),
        )
        costs = ("kept_tokens", "computed", "padding", "again", "judge_tokens")
        books = {"method": "rebase", "scorer": "judge", "row": 2, "kept": [1, 2], "tally": {}}
        books |= {"early": False, "judge_seconds": 0.0, "seconds": 1.0, "spent": 39}
        books |= dict.fromkeys(costs, 0)
        books["scored"] = {"0": [[13, 0.25]], "1": [[4, 0.625], [13, 0.5]], "2": [[13, 0.75]]}
        settings = {**pool.settings, "search": {"search": "rebase"}}
        found.append(replace(pool, candidates=rows, settings=settings, search=books))
    et.write_pools(path, found)
    file = PoolFile(path).with_problems()
    return compare_search(pools, file, bootstrap=20, pool=path.name), file
