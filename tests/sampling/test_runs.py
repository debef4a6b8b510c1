"""Many problems into one file: written as they finish, resumed to the same, refused when foreign.

The model is a formula, so that a run takes milliseconds; the tiny real one samples once.
"""

import subprocess
import sys
from pathlib import Path

import formula_model
import pytest
from formula_model import OPTIONS, PROBLEMS, FormulaModel

import edifice_tt as et
from edifice_tt.contract.errors import CheckpointError, EdificeError, PoolWarning
from edifice_tt.pools.pool import PoolFile


@pytest.fixture(autouse=True)
def _formulas(request, monkeypatch):
    if "tiny_lm" not in request.fixturenames:
        formula_model.use_formulas(monkeypatch.setattr)
        monkeypatch.setattr(formula_model, "SLOW_S", 0)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "pool.jsonl"


@pytest.fixture
def lm():
    return FormulaModel()


@pytest.fixture
def whole(tmp_path, lm):
    """The pools of a run that was not broken off, and the bytes of its file."""
    file = tmp_path / "whole"
    et.generate_pools(lm, PROBLEMS, file, **OPTIONS)
    return list(et.read_pools(file)), file.read_bytes()


def resume(lm, path, problems=PROBLEMS, **options):
    return et.generate_pools(lm, problems, path, resume=True, **{**OPTIONS, **options})


def interrupted(lm, problem, after=2):
    """What is finished when Ctrl-C comes with the last token of so many candidates."""
    done = []

    def interrupt(event):
        done.extend([event.index] if event.finish_reason else [])
        if len(done) == after:
            raise KeyboardInterrupt

    given = {"problem": problem.problem, "gold": problem.gold, **OPTIONS}
    with pytest.warns(et.PoolWarning, match="interrupted: . of 5"):
        return et.generate(lm, problem.prompt, on_token=interrupt, **given)


def test_a_pool_that_ctrl_c_ended_is_saved_and_resumed_to_the_whole(path, lm, whole):
    pool = interrupted(lm, PROBLEMS[0])
    assert pool.interrupted
    assert pool.num_missing == OPTIONS["n"] - len(pool) > 0
    pool.save(path)
    resume(lm, path)
    assert list(et.read_pools(path)) == whole[0]
    assert not any(one.interrupted or one.num_missing for one in whole[0])


def test_a_pool_that_ctrl_c_ended_stands_in_a_file_beside_whole_ones(path, lm, whole):
    et.write_pools(path, [whole[0][1], interrupted(lm, PROBLEMS[0])])
    assert "interrupted" not in PoolFile(path).settings
    resume(lm, path)
    assert sorted(et.read_pools(path), key=lambda pool: pool.problem) == sorted(
        whole[0], key=lambda pool: pool.problem
    )


def test_an_older_file_that_says_it_was_interrupted_is_resumed_too(path, lm, whole):
    path.write_bytes(whole[1].replace(b'"seed":', b'"interrupted":true,"seed":', 1))
    assert resume(lm, path) == 0
    assert list(et.read_pools(path)) == whole[0]


# --- the file


def test_a_file_holds_what_generate_makes_of_each_problem(path, lm):
    assert et.generate_pools(lm, PROBLEMS, path, **OPTIONS) == 15
    expected = [
        et.generate(lm, p.prompt, problem=p.problem, gold=p.gold, **OPTIONS) for p in PROBLEMS
    ]
    assert list(et.read_pools(path)) == expected
    assert len({c.token_ids for pool in expected for c in pool}) > 10


def test_the_tiny_model_writes_what_generate_returns(path, tiny_lm):
    chat = [{"role": "user", "content": "hi"}]
    options = {"n": 3, "max_tokens": 5, "stop": ["\n"], "temperature": 2.0}
    et.generate_pools(tiny_lm, [et.Problem(chat)], path, **options)
    assert et.Pool.load(path) == et.generate(tiny_lm, chat, **options)
    assert PoolFile(path).settings["fingerprint"] == tiny_lm.fingerprint


def test_each_candidate_is_in_the_file_when_it_is_finished(path, lm):
    """At its last token it is there, and no other has been begun to be written."""
    counts = []

    def watch(event):
        if event.finish_reason:
            counts.append(path.read_bytes().count(b'{"kind":"candidate"'))
            assert path.read_bytes().endswith(b"}\n")

    et.generate_pools(lm, PROBLEMS, path, on_token=watch, **OPTIONS)
    assert counts == list(range(1, 16))


def test_the_seed_of_a_problem_is_the_documented_hash(path, lm):
    import hashlib

    et.generate_pools(lm, PROBLEMS, path, **OPTIONS)
    digest = hashlib.blake2b((5).to_bytes(8, "little") + b"2", digest_size=8).digest()
    plain = {**OPTIONS, "seed": int.from_bytes(digest, "little")}
    *_, third = et.read_pools(path)
    again = et.generate(lm, third.prompt, gold=third.gold, **plain)
    assert again.candidates == third.candidates


# --- resuming


@pytest.mark.slow
def test_twenty_kills_at_random_moments_lose_nothing(tmp_path):
    """SIGKILL in the middle of the run, then --resume: each time the same set of candidates."""
    script = Path(formula_model.__file__)
    root = str(Path(et.__file__).parents[1])
    done = subprocess.run(
        [sys.executable, script, tmp_path, "20"],
        env={"PYTHONPATH": root, "EDIFICE_TT_PLUGINS": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    whole = list(et.read_pools(tmp_path / "whole"))
    left = [int(size) for size in done.stdout.split()]
    assert len(left) == 20
    assert len(set(left)) >= 5  # otherwise all were killed at the same place
    assert max(left) < (tmp_path / "whole").stat().st_size + 200
    for trial in range(20):
        assert list(et.read_pools(tmp_path / f"broken-{trial}")) == whole


@pytest.mark.parametrize("part", [0.05, 0.2, 0.35, 0.5, 0.65, 0.8, 0.95, 0.999, 1.0])
@pytest.mark.first(3)
def test_a_file_that_was_cut_at_any_byte_is_completed_to_the_same(path, lm, whole, part):
    pools, content = whole
    header = content.index(b"\n") + 1
    cut = header + round(part * (len(content) - header))
    path.write_bytes(content[:cut])
    torn = not content[:cut].endswith(b"\n") and content[cut : cut + 1] != b"\n"
    missing = 15 - sum(line.startswith(b'{"kind":"cand') for line in content[:cut].splitlines())
    if torn:
        with pytest.warns(PoolWarning, match="cut off after"):
            made = resume(lm, path)
        assert made == missing + content[:cut].splitlines()[-1].startswith(b'{"kind":"cand')
    else:
        assert resume(lm, path) == missing
    assert list(et.read_pools(path)) == pools


def test_ctrl_c_keeps_what_is_finished_and_the_rest_can_follow(path, lm, whole):
    finished = []

    def interrupt(event):
        finished.extend([event] if event.finish_reason else [])
        if len(finished) == 7:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        et.generate_pools(lm, PROBLEMS, path, on_token=interrupt, **OPTIONS)
    kept = sum(map(len, et.read_pools(path)))
    assert 7 <= kept < 15  # another core may have ended one meanwhile
    assert resume(lm, path) == 15 - kept
    assert list(et.read_pools(path)) == whole[0]


def test_resuming_what_is_complete_or_not_begun(path, lm, whole):
    pools, content = whole
    path.write_bytes(content)
    assert resume(lm, path) == 0
    assert path.read_bytes() == content
    path.unlink()
    assert resume(lm, path) == 15
    assert list(et.read_pools(path)) == pools


def test_scores_survive_resuming(path, lm, whole):
    path.write_bytes(b"".join(whole[1].splitlines(keepends=True)[:5]))
    pool = et.Pool.load(path)
    pool.with_scores("a", [0.5] * len(pool)).append_scores(path, "a")
    resume(lm, path)
    first, *_ = et.read_pools(path)
    assert [dict(c.scores) for c in first].count({"a": 0.5}) == len(pool) == 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": 6}, "was made with seed=5, given seed=6"),
        ({"temperature": 0.5}, "was made with temperature=1.0, given temperature=0.5"),
        ({"n": 4}, "was made with n=5, given n=4"),
        ({"stop": ["x"]}, r"was made with stop=\[\], given stop=\['x'\]"),
        ({"answer": None}, "was made with answer='number', given answer=None"),
        ({"lm": FormulaModel(norm_eps=0.05)}, "was made with fingerprint=.* given fingerprint="),
        ({"problems": PROBLEMS[1:]}, "holds problem '0', which is not among those given"),
        (
            {"problems": [et.Problem("7?", "0", "0"), *PROBLEMS[1:]]},
            "problem '0' has prompt='0 [+] 0[?]', given '7[?]'",
        ),
        (
            {"problems": [et.Problem("0 + 0?", "0", "9"), *PROBLEMS[1:]]},
            "problem '0' has gold='0', given '9'",
        ),
    ],
    ids=["seed", "temperature", "n", "stop", "answer", "model", "fewer", "prompt", "gold"],
)
def test_resuming_with_something_else_names_it(path, lm, whole, change, message):
    path.write_bytes(whole[1])
    with pytest.raises(EdificeError, match=message) as caught:
        resume(**{"lm": lm, "path": path, **change})
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert path.read_bytes() == whole[1]


@pytest.mark.parametrize("cut", [0, 7], ids=["whole", "unfinished"])
def test_a_larger_n_adds_candidates_and_leaves_those_that_are_there(path, lm, whole, cut):
    """The result is the file of a run with that n; only the order of its lines is another."""
    et.generate_pools(lm, PROBLEMS, path, **{**OPTIONS, "n": 7})
    seven = list(et.read_pools(path))
    lines = whole[1].splitlines(keepends=True)
    path.write_bytes(b"".join(lines[: len(lines) - cut]))
    before = path.read_bytes().split(b"\n", 1)[1]
    there = sum(len(pool) for pool in et.read_pools(path))
    assert resume(lm, path, n=7) == 7 * len(PROBLEMS) - there
    assert path.read_bytes().split(b"\n", 1)[1].startswith(before)
    assert list(et.read_pools(path)) == seven
    assert [p.candidates[:5] for p in seven] == [p.candidates for p in whole[0]]


def test_a_run_that_is_refused_asks_for_no_more_candidates(path, lm, whole):
    path.write_bytes(whole[1])
    with pytest.raises(EdificeError, match="seed=5, given seed=6"):
        resume(lm, path, n=7, seed=6)
    assert path.read_bytes() == whole[1]


def test_a_larger_n_keeps_the_schema_of_an_older_file(path, lm, whole):
    path.write_bytes(whole[1].replace(b'"schema":3', b'"schema":2', 1))
    resume(lm, path, n=6)
    assert path.read_bytes().startswith(b'{"kind":"pool","schema":2,')
    assert [len(pool) for pool in et.read_pools(path)] == [6] * len(PROBLEMS)


def test_a_model_under_another_name_is_the_same_model(path, whole):
    path.write_bytes(whole[1])
    assert resume(FormulaModel("renamed"), path) == 0


# --- what goes wrong, before anything is sampled


def test_a_file_that_exists_is_not_written_over(path, lm):
    path.write_text("precious")
    with pytest.raises(EdificeError, match=r"exists; use --resume .* --force .*resume=True"):
        et.generate_pools(lm, PROBLEMS, path, **OPTIONS)
    with pytest.raises(CheckpointError, match="line 1: not a pool file"):
        resume(lm, path)
    assert path.read_text() == "precious"


@pytest.mark.parametrize(
    ("problems", "options", "message"),
    [
        ([], {}, "there are no problems"),
        ([PROBLEMS[0], PROBLEMS[0]], {}, "problem '0' is there twice"),
        ([et.Problem("q"), et.Problem(" ", "b")], {}, "problem 'b': the prompt is empty"),
        ([et.Problem("q"), et.Problem("x" * 300, "b")], {}, "problem 'b': the prompt has 300 tok"),
        ([et.Problem("q"), et.Problem([{"role": "user", "content": "q"}], "b")], {}, "one kind"),
        (PROBLEMS, {"temprature": 1}, "'temprature'; did you mean 'temperature'"),
        (PROBLEMS, {"temperature": -1}, "temperature=-1"),
        (PROBLEMS, {"stop": "abc"}, r"stop='abc' must be a list"),
        (PROBLEMS, {"answer": "numbr"}, "did you mean 'number'"),
    ],
    ids=["none", "twice", "empty", "long", "mixed", "option", "value", "stop", "extractor"],
)
def test_what_cannot_work_is_found_first_and_leaves_no_file(path, lm, problems, options, message):
    with pytest.raises((ValueError, EdificeError), match=message):
        et.generate_pools(lm, problems, path, **options)
    assert not path.exists()
