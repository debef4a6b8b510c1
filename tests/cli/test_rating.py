"""`generate` with a scorer: one command does what two do, and reads less."""

import json

import pytest
from commands import runner
from fake_plugins import open_site
from judge_models import Tiny

import edifice_tt as et
from edifice_tt.machine import meter
from edifice_tt.pools.pool import PoolFile
from edifice_tt.sampling import runs

site = pytest.fixture(open_site, name="site")

PROBLEMS = [{"prompt": f"What is {i} + 3?", "problem": f"p{i}", "gold": str(i)} for i in range(3)]
COUNT = 5  # candidates of each
FAILING = """
import edifice_tt

fails = set()

def length(prompt, completions):
    if prompt in fails:
        raise ConnectionError("status 500")
    return [float(len(text)) for text in completions]

@edifice_tt.hookimpl
def register_scorers(register):
    register("length", lambda: length, reads="text")
"""


@pytest.fixture
def run(monkeypatch, capsys, tiny_lm):
    load = et.load_pretrained
    monkeypatch.setattr(
        et,
        "load_pretrained",
        lambda model, **how: tiny_lm if model == "tiny" else load(model, **how),
        raising=False,
    )
    monkeypatch.setattr(meter, "SECONDS", 3600)  # nothing is told of a slow machine
    return runner(capsys)


@pytest.fixture
def problems(tmp_path):
    path = tmp_path / "problems.jsonl"
    path.write_text("".join(json.dumps(one) + "\n" for one in PROBLEMS))
    return path


@pytest.fixture
def options(tmp_path, tiny_lm):
    """The options that name each scorer, by what it is."""
    Tiny("ForSequenceClassification").write(tmp_path / "rm")
    (tmp_path / "ask").write_text("{question} {answer} Right?")
    own = ["--judge-prompt", tmp_path / "ask", "--judge-labels", "Y,N", "--judge-kind", "yes_no"]
    return {
        "log-probabilities": ["--scorer", "logprob"],
        "confidences": ["--scorer", "deepconf", "--scorer-option", "window=2"],
        "head": ["--scorer", "linear"],
        "judge": ["--judge", tmp_path / "rm"],
        "itself": own,
    }


def generate(problems, path, *more):
    few = ["-m", "tiny", "-n", COUNT, "--max-tokens", 7, "--raw"]
    return ["generate", "--problems", problems, "-o", path, *few, *more]


@pytest.mark.parametrize("scorer", ["log-probabilities", "confidences", "head", "judge", "itself"])
@pytest.mark.first(1)
def test_one_command_gives_the_scores_of_two(run, problems, options, tmp_path, tiny_lm, scorer):
    given, one, two = options[scorer], tmp_path / "one", tmp_path / "two"
    status, out, err = run(*generate(problems, one, *given))
    assert (status, err) == (0, "")
    assert "this run has scored 3 problems by " in out
    confident = ["--confidence", "deepconf"] if scorer == "confidences" else []
    assert run(*generate(problems, two, *confident))[0] == 0
    if scorer == "itself":
        how = {"prompt": "{question} {answer} Right?", "labels": ["Y", "N"], "kind": "yes_no"}
        judge = et.load_reward(tiny_lm, **how)
        assert [*et.read_pools(one)] == [et.score(None, pool, judge) for pool in et.read_pools(two)]
        return
    model = ["-m", "tiny"] if scorer == "head" else []
    assert run("score", two, *given, *model)[0] == 0
    assert list(et.read_pools(one)) == list(et.read_pools(two))
    assert PoolFile(one).scorers == PoolFile(two).scorers


def test_what_was_just_sampled_is_not_read_again(run, problems, options, tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    run(*generate(problems, one, *options["head"]))
    run(*generate(problems, two))
    run("score", two, *options["head"], "-m", "tiny")
    read = [
        [pool.scoring["linear"]["tokens"] for pool in et.read_pools(path)] for path in (one, two)
    ]
    assert read[0] == [COUNT] * 3  # the last token of each
    assert min(read[1][:2]) > COUNT


def test_what_an_interrupted_command_left_is_sampled_and_scored(
    run, problems, tmp_path, monkeypatch
):
    whole, path, sample, asked = tmp_path / "whole", tmp_path / "pool", runs.sample, []
    assert run(*generate(problems, whole, "--scorer", "logprob"))[0] == 0

    def interrupted(*arguments):
        asked.append(1)
        if len(asked) == 2:
            raise KeyboardInterrupt
        return sample(*arguments)

    monkeypatch.setattr(runs, "sample", interrupted)
    assert run(*generate(problems, path, "--scorer", "logprob"))[0] == 130
    assert [len(pool) for pool in et.read_pools(path)] == [COUNT]
    status, out, _ = run(*generate(problems, path, "--scorer", "logprob", "--resume", "--json"))
    assert (status, json.loads(out)["scored"]) == (0, 2)
    assert list(et.read_pools(path)) == list(et.read_pools(whole))


def test_candidates_without_scores_are_scored_with_those_that_are_added(run, problems, tmp_path):
    path = tmp_path / "pool"
    few = generate(problems, path)
    few[few.index("-n") + 1] = 2
    assert run(*few)[0] == 0
    assert run(*generate(problems, path, "--scorer", "logprob", "--resume"))[0] == 0
    assert [pool.scorers for pool in et.read_pools(path)] == [["logprob"]] * 3
    assert [len(pool) for pool in et.read_pools(path)] == [COUNT] * 3


def test_a_scorer_that_fails_keeps_what_was_sampled_and_scored(run, site, problems, tmp_path):
    path = tmp_path / "pool"
    site.install("lengths", FAILING)
    et.scorer("length")
    import lengths

    lengths.fails.add(PROBLEMS[1]["prompt"])
    status, out, err = run(*generate(problems, path, "--scorer", "length"))
    assert (status, out) == (2, "")
    assert "problem 'p1': scorer 'length' of lengths" in err
    assert "this run has scored 1 problem by length; the same command with --resume goes on" in err
    assert [len(pool) for pool in et.read_pools(path)] == [COUNT] * 2
    lengths.fails.clear()
    assert run(*generate(problems, path, "--scorer", "length", "--resume"))[0] == 0
    assert [pool.scorers for pool in et.read_pools(path)] == [["length"]] * 3


def test_one_question_is_shown_with_its_scores(run):
    few = ["-m", "tiny", "-n", 2, "--max-tokens", 5, "--raw", "--scorer", "linear"]
    status, out, _ = run("generate", "hello", *few, "--json")
    assert status == 0
    assert [set(one["scores"]) for one in json.loads(out)["candidates"]] == [{"linear"}] * 2


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["--scorer", "no-such"], "unknown scorer 'no-such'"),
        (["--scorer", "logprob", "--judge", "x"], "give either --scorer, --verifier or --judge"),
        (["--reduce", "min"], "--reduce is for a scorer of steps"),
        (["--scorer", "logprob", "--reduce", "min"], "reduce"),
        (["--scorer", "logprob", "--stop-when", "adaptive:0.9"], "--stop-when is a search"),
    ],
)
def test_a_mistake_is_found_before_a_model_is_loaded(
    run, problems, tmp_path, monkeypatch, given, message
):
    monkeypatch.setattr(et, "load_pretrained", lambda *_, **__: pytest.fail("loaded"))
    status, out, err = run(*generate(problems, tmp_path / "pool", *given))
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert message in err
