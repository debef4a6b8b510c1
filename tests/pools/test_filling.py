"""A pool file is filled by whoever samples, and says what it lacks."""

from dataclasses import replace

import pytest

import edifice_tt as et

ASKED = ({"role": "user", "content": "What is 2 + 3?"},)
PROBLEMS = (
    et.Pool("", (), problem="p", gold="5", messages=ASKED),
    et.Pool("", (), problem="q", messages=({"role": "user", "content": "And 3 + 4?"},)),
)
SETTINGS = {"model": "served", "n": 3, "seed": 7}


@pytest.fixture
def path(tmp_path):
    """A file that holds candidates 0 and 2 of the first problem."""
    path = tmp_path / "pool.jsonl"
    with et.fill_pool(path, PROBLEMS, SETTINGS) as filling:
        for index in (2, 0):
            filling.add(replace(PROBLEMS[0], candidates=(et.Candidate(index, f"It is {index}."),)))
    return path


def lacks(path, settings=SETTINGS, problems=PROBLEMS):
    with et.fill_pool(path, problems, settings, resume=True) as filling:
        return {pool.problem: list(indices) for pool, indices in filling.missing}


def test_what_a_file_lacks_is_told_by_problem(path):
    assert lacks(path) == {"p": [1], "q": [0, 1, 2]}


def test_a_filled_file_holds_the_messages_and_the_gold_answer(path):
    (pool,) = et.read_pools(path)
    assert ([c.text for c in pool], pool.gold, pool.messages) == (
        ["It is 0.", "It is 2."],
        "5",
        ASKED,
    )
    assert pool.num_missing == 1


def test_a_larger_n_adds_to_each_problem_and_a_smaller_one_is_refused(path):
    assert lacks(path, {**SETTINGS, "n": 5}) == {"p": [1, 3, 4], "q": [0, 1, 2, 3, 4]}
    with pytest.raises(et.EdificeError, match="made with n=5, given n=3"):
        lacks(path)


def test_a_gold_answer_that_the_file_lacks_is_filled_in(path):
    asked = [PROBLEMS[0], replace(PROBLEMS[1], gold="7")]
    with et.fill_pool(path, PROBLEMS, SETTINGS, resume=True) as filling:
        filling.add(replace(PROBLEMS[1], candidates=(et.Candidate(1, "7"),)))
    before = list(et.read_pools(path))
    assert lacks(path, {**SETTINGS, "n": 4}, asked) == {"p": [1, 3], "q": [0, 2, 3]}
    after = list(et.read_pools(path))
    assert [one.gold for one in after] == ["5", "7"]
    assert [one.candidates for one in after] == [one.candidates for one in before]
    assert lacks(path, {**SETTINGS, "n": 4}, (*PROBLEMS[:1], asked[1])) == {
        "p": [1, 3],
        "q": [0, 2, 3],
    }
    for other in ("8", None):
        with pytest.raises(et.EdificeError, match="problem 'q' has gold='7', given"):
            lacks(path, {**SETTINGS, "n": 4}, [PROBLEMS[0], replace(PROBLEMS[1], gold=other)])


def test_a_file_that_was_graded_is_completed_as_before(path):
    et.write_pools(path, [et.grade(one, "number") for one in et.read_pools(path)])
    assert lacks(path) == {"p": [1], "q": [0, 1, 2]}


def test_another_model_of_which_only_the_name_is_known_is_refused(path):
    with pytest.raises(et.EdificeError, match="made with model='served', given model='other'"):
        lacks(path, {**SETTINGS, "model": "other"})


def test_a_file_that_is_there_is_replaced_only_when_told_so(path):
    with pytest.raises(et.EdificeError, match="exists"), et.fill_pool(path, PROBLEMS, SETTINGS):
        pass
    with et.fill_pool(path, PROBLEMS, SETTINGS, force=True) as filling:
        assert filling.num_missing == 6


@pytest.mark.parametrize(
    ("problems", "message"),
    [((), "there are no problems"), (PROBLEMS[:1] * 2, "problem 'p' is there twice")],
)
def test_problems_that_cannot_be_told_apart_cost_no_file(tmp_path, problems, message):
    with (
        pytest.raises(ValueError, match=message),
        et.fill_pool(tmp_path / "new.jsonl", problems, SETTINGS),
    ):
        pass
    assert list(tmp_path.iterdir()) == []
