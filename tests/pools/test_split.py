"""A pool file in two halves: no question in both, the same draw whatever the order."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import edifice_tt as et
from edifice_tt.contract.errors import CheckpointError


def pools(count, twins=0):
    """So many questions, the first of them twice under other ids."""
    made = []
    for i in range(count + twins):
        scores = {"a": i / 10.0}
        candidates = (et.Candidate(0, f"t{i}", correct=i % 2 == 0, scores=scores),)
        settings = {"model": "tiny"}
        question = f"q{i % count}"
        made.append(et.Pool(question, candidates, settings, f"p{i}", "1", {"a": "logit"}))
    return made


@pytest.fixture
def split(tmp_path):
    def split(pools, **options):
        et.write_pools(tmp_path / "pool", pools)
        counts = et.split_pools(tmp_path / "pool", tmp_path / "train", tmp_path / "test", **options)
        halves = [list(et.read_pools(tmp_path / half)) for half in ("train", "test")]
        assert counts == tuple(map(len, halves))
        return halves

    return split


def test_each_problem_is_in_one_half_with_all_it_had(split):
    whole = pools(11)
    train, test = split(whole)
    assert (len(train), len(test)) == (9, 2)
    assert sorted([*train, *test], key=lambda p: int(p.problem[1:])) == whole


def test_a_question_that_is_there_twice_is_in_one_half(split):
    for seed in range(5):
        train, test = split(pools(7, twins=7), train=0.5, seed=seed)
        assert not {p.prompt for p in train} & {p.prompt for p in test}
        assert len(train) + len(test) == 14


def test_the_draw_depends_on_the_seed_and_not_on_the_order(split):
    halves = [[p.problem for p in split(pools(13), seed=seed)[0]] for seed in (0, 0, 1)]
    assert halves[0] == halves[1] != halves[2]
    assert {p.problem for p in split(pools(13)[::-1])[0]} == set(halves[0])


def test_problems_whose_prompt_is_not_known_are_told_apart_by_their_ids(split):
    unknown = [et.Pool("", (et.Candidate(0, "a"),), problem=f"{i}") for i in range(5)]
    train, test = split(unknown, train=0.6)
    assert (len(train), len(test)) == (3, 2)


@settings(max_examples=20)
@given(st.integers(2, 7), st.floats(0.001, 0.999))
def test_neither_half_is_ever_empty(tmp_path_factory, count, share):
    folder = tmp_path_factory.mktemp("split")
    et.write_pools(folder / "pool", pools(count))
    counts = et.split_pools(folder / "pool", folder / "train", folder / "test", train=share)
    assert min(counts) >= 1
    assert sum(counts) == count


def test_what_a_scorer_was_trained_on_goes_along(split):
    whole = [p.with_scores("v", [0.5], seen=i < 3) for i, p in enumerate(pools(5))]
    train, test = split(whole, train=0.5)
    assert {p.problem for p in (*train, *test) if "v" in p.seen_by} == {"p0", "p1", "p2"}


@pytest.mark.parametrize("share", [0, 1, -1, 80, "0.8", True, float("nan")])
def test_a_share_that_is_none_is_a_mistake(split, share):
    with pytest.raises(ValueError, match=r"train=.* must be between 0 and 1"):
        split(pools(3), train=share)


def test_one_question_makes_no_two_halves(split):
    with pytest.raises(ValueError, match="it has one question"):
        split(pools(1, twins=2))


def test_a_half_that_would_replace_the_whole_is_a_mistake(tmp_path):
    path = tmp_path / "pool"
    et.write_pools(path, pools(3))
    before = path.read_bytes()
    with pytest.raises(ValueError, match="must be three files"):
        et.split_pools(path, tmp_path / "train", path)
    (tmp_path / "test").touch()
    with pytest.raises(FileExistsError):
        et.split_pools(path, tmp_path / "train", tmp_path / "test", overwrite=False)
    assert path.read_bytes() == before
    assert not (tmp_path / "train").exists()


def test_a_half_that_another_process_writes_to_is_one_error(tmp_path):
    et.write_pools(tmp_path / "pool", pools(3))
    et.write_pools(tmp_path / "test", pools(3))
    from edifice_tt.pools.writer import PoolWriter

    with PoolWriter(tmp_path / "test"), pytest.raises(CheckpointError, match="another process"):
        et.split_pools(tmp_path / "pool", tmp_path / "train", tmp_path / "test")
    lines = (tmp_path / "test").read_text().splitlines()
    assert sum(json.loads(line)["kind"] == "problem" for line in lines) == 3
