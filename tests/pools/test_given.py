"""An argument of another kind than expected is told in one line, by every public function."""

from dataclasses import replace

import numpy as np
import pytest

import edifice_tt as et
from edifice_tt.testing import small_pool

POOL = small_pool()
MANY = {
    "scaling_curve": et.scaling_curve,
    "replay": et.replay,
    "compare_scorers": et.compare_scorers,
    "calibrate_scores": lambda pools: et.calibrate_scores(pools, "judge"),
    "combine_scores": lambda pools: et.combine_scores(pools, ["judge", "logprob"]),
    "fit_scorer": lambda pools: et.fit_scorer(None, pools),
    "compare_layers": lambda pools: et.compare_layers(None, pools),
    "score_pools": lambda pools: list(et.score_pools(None, pools)),
}
ONE = {
    "select": lambda pool: et.select(pool, "majority"),
    "group_by_answer": et.group_by_answer,
    "grade": lambda pool: et.grade(pool, "number"),
}
WRONG_POOLS = [POOL, POOL[0], None, 7, "pool.jsonl", ["pool.jsonl"], [POOL[0]], [[POOL]]]
WRONG_PROBLEMS = [None, "What is 2 + 2?", ["What is 2 + 2?"], [{"prompt": "What?"}], {"prompt": ""}]


@pytest.mark.parametrize("given", WRONG_POOLS, ids=repr)
@pytest.mark.parametrize("name", MANY)
def test_what_is_no_list_of_pools_is_told(name, given):
    with pytest.raises(ValueError, match=r"^pools.* (must be a list of|expected a) Pool"):
        MANY[name](given)


@pytest.mark.parametrize("given", [None, 7, "pool.jsonl", POOL[0], [POOL, POOL]], ids=repr)
@pytest.mark.parametrize("name", ONE)
def test_what_is_no_pool_is_told(name, given):
    with pytest.raises(ValueError, match=r"must be (one|a) (Pool|Candidate)"):
        ONE[name](given)


@pytest.mark.parametrize("given", [None, "smollm2-135m", POOL], ids=repr)
def test_what_is_no_model_is_told(given, tmp_path):
    calls = (
        lambda: et.generate(given, "What is 2 + 2?"),
        lambda: et.search(given, "What is 2 + 2?"),
        lambda: et.generate_pools(given, [et.Problem("What?")], tmp_path / "pool.jsonl"),
        lambda: et.fit_scorer(given, [POOL]),
        lambda: et.compare_layers(given, [POOL]),
    )
    for call in calls:
        with pytest.raises(ValueError, match=r"must be a language model; .*load_pretrained"):
            call()


@pytest.mark.parametrize("given", WRONG_PROBLEMS, ids=repr)
def test_what_are_no_problems_is_told(tiny_lm, tmp_path, given):
    with pytest.raises(ValueError, match=r"^problems.* (must be a list of|expected a) Problem"):
        et.generate_pools(tiny_lm, given, tmp_path / "pool.jsonl")
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize("given", [{"role": "user", "content": "Hi"}, None, 7, {}], ids=repr)
def test_what_is_no_prompt_is_told(tiny_lm, given):
    for call in (et.generate, et.search):
        with pytest.raises(ValueError, match="must be a text or a list of messages; give a list"):
            call(tiny_lm, given)


def test_arguments_in_the_wrong_order_are_told_with_the_right_one(tiny_lm):
    with pytest.raises(ValueError, match=r"must be the path of a file: write_pools\(path, pools\)"):
        et.write_pools([POOL], "pool.jsonl")
    with pytest.raises(ValueError, match=r"generate_pools\(lm, problems, path\)"):
        et.generate_pools(tiny_lm, "pool.jsonl", [et.Problem("What?")])


def test_an_array_is_for_the_model_and_not_for_its_parts(tiny_lm):
    with pytest.raises(ValueError, match=r"must be a Tensor of token ids .*lm\(ids\)\.backbone"):
        tiny_lm.read(np.array([[1, 2]]))


def test_a_stream_of_pools_is_read_as_it_comes():
    def stream():
        yield replace(POOL, candidates=tuple(replace(c, correct=True) for c in POOL))
        yield POOL[0]

    with pytest.raises(ValueError, match=r"pools hold <Candidate 0.*, expected a Pool each"):
        et.scaling_curve(stream())
