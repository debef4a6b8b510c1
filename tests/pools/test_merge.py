"""Several files become one; where they contradict each other, both places are named."""

from dataclasses import replace

import pytest

import edifice_tt as et
from edifice_tt.contract.errors import CheckpointError
from edifice_tt.pools.pool import PoolFile
from edifice_tt.pools.writer import PoolWriter

SETTINGS = {"model": "tiny", "fingerprint": "ab", "seed": 3, "n": 2}
A = et.Pool("q", tuple(et.Candidate(i, f"a{i}", (i,), (-1.0,)) for i in range(3)), SETTINGS, "a")
B = et.Pool("r", (et.Candidate(0, "b0"), et.Candidate(1, "b1")), SETTINGS, "b", "4")


def part(pool, *indices):
    return replace(pool, candidates=tuple(c for c in pool if c.index in indices))


@pytest.fixture
def merge(tmp_path):
    def merge(*files):
        paths = [tmp_path / f"{number}.jsonl" for number in range(len(files))]
        for path, pools in zip(paths, files, strict=True):
            et.write_pools(path, pools)
        et.merge_pools(paths, tmp_path / "merged")
        return list(et.read_pools(tmp_path / "merged"))

    return merge


def test_problems_and_candidates_are_united(merge):
    assert merge([part(A, 0, 2)], [B, part(A, 1, 2)]) == [A, B]


def test_a_file_with_itself_is_itself(merge):
    pools = [A.with_scores("s", [1.0, 2.0, 3.0], range="logit"), B]
    assert merge(pools, pools) == pools


def test_the_scores_of_the_later_file_count(merge):
    scored = A.with_scores("x", [1.0, 2.0, 3.0], steps=[[1.0]] * 3).with_scores("y", [0.0] * 3)
    again = part(A, 1).with_scores("x", [9.0]).with_scores("z", [5.0])
    (merged,) = merge([scored], [again])
    assert [dict(c.scores) for c in merged] == [
        {"x": 1.0, "y": 0.0},
        {"x": 9.0, "y": 0.0, "z": 5.0},
        {"x": 3.0, "y": 0.0},
    ]
    assert [dict(c.step_scores) for c in merged] == [{"x": (1.0,)}, {}, {"x": (1.0,)}]


def test_the_cost_of_scoring_is_that_of_the_file_whose_scores_count(merge):
    scored = A.with_scores("x", [1.0] * 3).with_cost("x", 7, 0.5)
    scored = scored.with_scores("y", [2.0] * 3).with_cost("y", 8, 0.5)
    untold, told = part(A, 1).with_scores("x", [9.0]), part(A, 1).with_scores("y", [9.0])
    (merged,) = merge([scored], [untold])
    assert set(merged.scoring) == {"y"}
    (merged,) = merge([scored], [told.with_cost("y", 3, 0.25)])
    assert merged.scoring["x"] == scored.scoring["x"]
    assert merged.scoring["y"] == {"candidates": 1, "tokens": 3, "seconds": 0.25}


def test_what_only_one_file_knows_is_kept(merge):
    graded = replace(B, candidates=tuple(replace(c, answer="4", correct=True) for c in B))
    ungraded = replace(B, gold=None)
    assert merge([ungraded], [graded]) == merge([graded], [ungraded]) == [graded]


def test_more_candidates_of_one_sampling_belong_together(merge):
    more = replace(A, settings={**SETTINGS, "n": 3})
    (merged,) = merge([part(A, 0)], [part(more, 1, 2)])
    assert merged == more


def test_who_gave_the_scores_is_kept(tmp_path):
    et.write_pools(tmp_path / "a", [A])
    with PoolWriter(tmp_path / "a") as writer:
        scored = A.with_scores("s", [1.0, 2.0, 3.0], range="logit")
        writer.add_scores(scored, "s", owner="judges 1.2", fingerprint="cd")
    assert et.merge_pools([tmp_path / "a", tmp_path / "a"], tmp_path / "b") == (1, 3)
    assert PoolFile(tmp_path / "b").scorers == PoolFile(tmp_path / "a").scorers


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (
            replace(A, settings={**SETTINGS, "seed": 4}),
            "0.jsonl, line 1, has seed=3, .*1.jsonl",
        ),
        (replace(A, settings={**SETTINGS, "fingerprint": "cd"}), "fingerprint='ab', .* has 'cd'"),
        (replace(A, prompt="p"), "different prompts in .*0.jsonl, line 2, and .*1.jsonl, line 2"),
        (
            replace(A, candidates=(et.Candidate(1, "other", (1,), (-1.0,)),)),
            "candidate 1 of problem 'a' has different text in .*, line 4, and .*, line 3",
        ),
        (
            replace(A, candidates=(replace(A.candidates[2], token_logprobs=(-2.0,)),)),
            "different token_logprobs in .*0.jsonl, line 5",
        ),
        (
            A.with_scores("s", [0.0] * 3, range="logit"),
            "scorer 's' has the range 'probability' in .* and 'logit' in",
        ),
    ],
    ids=["seed", "model", "prompt", "text", "logprobs", "range"],
)
def test_what_contradicts_names_both_places(merge, tmp_path, other, message):
    first = A.with_scores("s", [0.5] * 3, range="probability")
    with pytest.raises(CheckpointError, match=message) as caught:
        merge([first], [other])
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "merged").exists()


def test_marks_that_contradict_are_an_error(merge):
    marked = [replace(B, candidates=(replace(B.candidates[0], correct=c),)) for c in (True, False)]
    with pytest.raises(CheckpointError, match="candidate 0 of problem 'b' has different correct"):
        merge(*([pool] for pool in marked))
    with pytest.raises(CheckpointError, match="different gold answers"):
        merge([B], [replace(B, gold="5")])
    with pytest.raises(CheckpointError, match="different picked answers"):
        merge([replace(B, picked=0)], [replace(B, picked=1)])
    assert merge([B], [replace(B, picked=0)])[0].picked == 0


def test_what_a_scorer_was_trained_on_goes_with_its_scores(merge):
    trained, not_trained = (A.with_scores("v", [0.5] * 3, seen=seen) for seen in (True, False))
    assert merge([trained], [B])[0].seen_by == {"v"}
    assert merge([trained], [part(A, 0)])[0].seen_by == {"v"}
    assert merge([trained], [not_trained])[0].seen_by == frozenset()
    assert merge([not_trained], [trained])[0].seen_by == {"v"}
