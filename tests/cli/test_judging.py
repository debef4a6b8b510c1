"""Judges on the command line: pool files are scored, resumed, and mistakes are one line."""

import json

import pytest
from commands import runner
from judge_models import Tiny

import edifice_tt as et
from edifice_tt.machine import meter
from edifice_tt.scoring.judges.judge import Judge

run = pytest.fixture(runner, name="run")

ANSWERS = ["5", "It is 6.\n\nOr 5.", ""]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("judges")
    Tiny("ForSequenceClassification").write(root / "rm")
    Tiny("ForSequenceClassification", seed=6).write(root / "other")
    Tiny("ForProcessRewardModel", "qwen2").write(root / "prm")
    Tiny("ForCausalLM").write(root / "lm")
    return root


@pytest.fixture
def pool(tmp_path):
    """Three problems of a chat."""
    pools = []
    for i in range(3):
        asked = ({"role": "user", "content": f"What is {i} + 3?"},)
        made = tuple(et.Candidate(j, text) for j, text in enumerate(ANSWERS))
        pools.append(et.Pool("as it was read", made, {"template": "chat"}, str(i), messages=asked))
    et.write_pools(tmp_path / "pool", pools)
    return tmp_path / "pool"


@pytest.mark.slow
def test_workers_score_by_the_same_judge_with_its_prompt_and_from_any_folder(
    run, folders, pool, tmp_path, monkeypatch
):
    monkeypatch.chdir(folders)
    monkeypatch.setattr(meter, "SECONDS", 3600)  # nothing is told of a slow machine
    (tmp_path / "prompt").write_text("Question: {question}\nAnswer: {answer}\nRight?")
    asks = ["--judge", "lm", "--judge-kind", "yes_no", "--judge-prompt", tmp_path / "prompt"]
    labels = ["--judge-labels", "a,b", "--judge-name", "mine"]
    assert run("score", pool, *asks, *labels)[0] == 0
    alone = scores(pool, "mine")
    status, out, err = run("score", pool, *asks, *labels, "--workers", 2)
    assert (status, err) == (0, "")
    assert out == f"9 candidates of 3 problems in {pool} have a score by mine: probability\n"
    assert scores(pool, "mine") == alone == [[*row] for row in alone if None not in row]


def scores(path, name):
    return [[one.scores.get(name) for one in pool] for pool in et.read_pools(path)]


def expected(folder, **options):
    judge = et.load_reward(folder, **options)
    return [judge(f"What is {i} + 3?", ANSWERS) for i in range(3)]


def test_a_pool_file_is_scored_by_a_judge_and_chosen_from(run, folders, pool, monkeypatch):
    monkeypatch.setattr(meter, "SECONDS", float("inf"))  # nothing is told of a slow machine
    status, out, err = run("score", pool, "--judge", folders / "rm")
    assert (status, err) == (0, "")
    assert out == f"9 candidates of 3 problems in {pool} have a score by rm: unbounded\n"
    assert scores(pool, "rm") == expected(folders / "rm")
    assert [one.ranges for one in et.read_pools(pool)] == [{"rm": "unbounded"}] * 3
    status, out, _ = run("select", pool, "--json")
    best = [row.index(max(row)) for row in scores(pool, "rm")]
    assert [one["choice"]["index"] for one in json.loads(out)] == best
    status, _, err = run("select", pool, "--rule", "weighted", "--answer", "text")
    assert status == 2
    assert "needs probabilities" in err


@pytest.mark.slow
def test_steps_are_reduced_as_the_kind_says_or_as_asked(run, folders, pool):
    status, out, _ = run("score", pool, "--judge", folders / "prm", "--judge-name", "steps")
    assert status == 0
    assert out.endswith("have a score by steps: probability, last of the steps\n")
    steps = expected(folders / "prm")
    assert [[one.step_scores["steps"] for one in pool] for pool in et.read_pools(pool)] == [
        [tuple(row) for row in rows] for rows in steps
    ]
    run("score", pool, "--judge", folders / "prm", "--reduce", "min")
    assert scores(pool, "prm") == [[min(row) for row in rows] for rows in steps]


def test_an_interrupted_judge_goes_on_where_it_was(run, folders, pool, monkeypatch):
    score, asked = Judge.score, []

    def interrupted(self, one, reduce=None, add=None):
        asked.append(one.problem)
        if len(asked) == 2:
            raise KeyboardInterrupt
        return score(self, one, reduce, add)

    monkeypatch.setattr(Judge, "score", interrupted)
    status, _, err = run("score", pool, "--judge", folders / "rm")
    assert status == 130
    assert "1 of 3 problems" in err
    assert "--resume scores the others" in err
    assert [row[0] is None for row in scores(pool, "rm")] == [False, True, True]
    status, _, err = run(
        "score", pool, "--judge", folders / "other", "--judge-name", "rm", "--resume"
    )
    assert status == 2
    assert "it has scores by rm of another judge or reduction of steps" in err
    assert run("score", pool, "--judge", folders / "rm", "--resume")[0] == 0
    assert asked == ["0", "1", "1", "2"]
    assert scores(pool, "rm") == expected(folders / "rm")


def test_a_text_that_does_not_fit_is_found_before_any_is_scored(run, folders, pool):
    before = pool.read_bytes()
    long = et.Pool(
        "q",
        (et.Candidate(0, "x" * 2100),),
        {"template": "chat"},
        "9",
        messages=({"role": "user", "content": "?"},),
    )
    pools = [*et.read_pools(pool), long]
    et.write_pools(pool, pools)
    before = pool.read_bytes()
    status, _, err = run("score", pool, "--judge", folders / "rm")
    assert status == 2
    assert "problem '9': judge 'rm', candidate 0: the text has" in err
    assert pool.read_bytes() == before


def test_best_of_takes_a_judge_or_the_model_itself(run, folders, tmp_path, tiny_lm, monkeypatch):
    prompt = tmp_path / "ask.txt"
    prompt.write_text("{question} {answer} Right?\n")
    monkeypatch.setattr(et, "load_pretrained", lambda *_, **__: tiny_lm, raising=False)
    sampled = ["best-of", "hi", "--model", "tiny", "-n", 3, "--max-tokens", 5, "--json"]
    status, out, _ = run(*sampled, "--judge", folders / "rm")
    assert status == 0
    chosen = json.loads(out)
    answers = [one["text"] for one in chosen["pool"]["candidates"]]
    rated = et.load_reward(folders / "rm")("hi", answers)
    assert run(*sampled, "--judge", folders / "rm", "--activations", "int8")[0] == 0  # the model's
    assert [one["scores"]["rm"] for one in chosen["pool"]["candidates"]] == rated
    assert chosen["choice"]["index"] == rated.index(max(rated))
    own = ["--judge-prompt", prompt, "--judge-labels", "Y,N", "--judge-name", "self"]
    status, out, _ = run(*sampled, *own)
    assert status == 0
    assert json.loads(out)["pool"]["ranges"] == {"self": "probability"}


def test_best_of_asks_the_model_in_the_next_turn(run, folders, tmp_path):
    prompt = tmp_path / "next.txt"
    prompt.write_text("Right?\n")
    given = ["best-of", "hi", "--model", folders / "lm", "-n", 3, "--max-tokens", 5, "--json"]
    own = ["--judge-kind", "follow_up", "--judge-prompt", prompt]
    status, out, _ = run(*given, *own, "-o", tmp_path / "own")
    assert status == 0
    (made,) = et.read_pools(tmp_path / "own")
    judge = et.load_reward(folders / "lm", kind="follow_up", prompt="Right?")
    assert et.score(None, made, judge).candidates == made.candidates
    assert json.loads(out)["pool"]["ranges"] == {judge.name: "probability"}
    again = ["--judge", folders / "lm", *own, "--judge-name", "again"]
    assert run("score", tmp_path / "own", *again)[0] == 0
    for candidate in next(et.read_pools(tmp_path / "own")):
        assert candidate.scores["again"] == candidate.scores[judge.name]


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--judge-prompt", "x", "--scorer", "logprob"], "give either --scorer, --verifier or"),
        (["--judge-labels", "Y,N"], "--judge-labels is for a judge; name its model with --judge"),
        (["--judge", "rm", "--rule", "weighted"], "rule 'weighted' needs probabilities"),
        (["--judge", "prm", "--reduce", "median"], "unknown reduction of steps 'median'"),
    ],
)
def test_a_mistake_costs_no_sampling(run, folders, monkeypatch, argv, message):
    monkeypatch.setattr(et, "load_pretrained", None, raising=False)
    known = {"rm", "prm"}
    status, out, err = run("best-of", "hi", *(folders / a if a in known else a for a in argv))
    assert (status, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1


def test_a_judge_is_told_what_it_is(run, folders, tmp_path):
    status, out, _ = run("judge", folders / "prm")
    assert status == 0
    assert "the marker '<extra_0>' behind each step" in out
    status, out, _ = run("judge", folders / "rm", "--json")
    about = json.loads(out)
    assert (about["kind"], about["range"], about["level"]) == ("classifier", "unbounded", "answer")
    status, out, _ = run("judge", folders / "lm", "--judge-kind", "plus_minus", "--json")
    assert json.loads(out)["read_at"] == "the token before each assistant's +"


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--judge", "lm"], "a language model without the head of a judge; name how it judges"),
        (["--judge", "rm", "--scorer", "logprob"], "give either --scorer, --verifier or --judge"),
        (
            ["--judge-kind", "plus_minus"],
            "--judge-kind is for a judge; name its model with --judge",
        ),
        (["--judge", "rm", "--judge-label", "7"], "label=7 is not one of 0 to 0"),
        (["--judge", "rm", "--reduce", "min"], "gives one score an answer, so --reduce min"),
        (["--judge", "prm", "--reduce", "median"], "unknown reduction of steps 'median'"),
        (["--judge", "nowhere/at/all"], "there is no such file or folder"),
        (["--scorer", "logprob", "--resume"], "this pool does not hold; use a scorer that reads"),
        (["--judge", "rm", "--activations", "int8"], "--activations int8 is for GGUF files"),
        (["--judge", "rm", "--model", "lm"], "--model is for a scorer that reads hidden states"),
        (["--judge", "rm", "--judge-name", "a\nb"], "must be a name, in one line"),
        (["--judge", "rm", "--judge-kind", "plus_minus"], "is for a language model without a head"),
    ],
)
@pytest.mark.first(3)
def test_a_mistake_is_one_line(run, folders, pool, argv, message):
    known = {"lm", "rm", "prm"}
    status, out, err = run("score", pool, *(folders / a if a in known else a for a in argv))
    assert (status, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1
