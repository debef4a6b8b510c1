"""Reward models in published formats against transformers, which ran the same weights.

`EDIFICE_TT_JUDGES` may name a folder of such models, each with a `cases.json`: conversations, their
token ids, where the numbers are read, and the numbers.
"""

import json
import os
from pathlib import Path

import pytest

import edifice_tt as et
from edifice_tt.scoring.judges.forms import write_text

FOLDERS = os.environ.get("EDIFICE_TT_JUDGES", "")
KINDS = {"rlhflow_prm": "plus_minus", "shepherd_prm": "step_tag"}


@pytest.mark.slow
@pytest.mark.skipif(not FOLDERS, reason="EDIFICE_TT_JUDGES names no folder")
def test_reward_models_score_what_transformers_does():
    tried = 0
    for path in sorted(Path(FOLDERS).glob("*/cases.json")):
        told = json.loads(path.read_text())
        judge = et.load_reward(path.parent, kind=KINDS.get(told["format"]))
        for one in told["cases"]:
            *asked, said = one.get("messages") or [{"role": "user", "content": one["question"]}, 0]
            answer = said["content"] if said else one["steps"]
            text = write_text(judge.layout, asked, answer)
            assert text == (one["token_ids"], one["read_at"])
            expected = one.get("step_scores", [one.get("score")])
            (alone,) = judge.rate(asked, [answer])
            assert alone == pytest.approx(expected, abs=2e-5)
            assert judge.rate(asked, ["another", answer, ""])[1] == alone
        tried += 1
    assert tried > 1
