"""From a task's name to a verifier that scores: the commands, in a folder of their own."""

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from fake_plugins import open_site

import edifice_tt as et
from edifice_tt import cli
from edifice_tt.machine.files import working_alone
from edifice_tt.nn.buffers import place
from edifice_tt.pools.pool import PoolFile
from edifice_tt.scoring.verifier import new_head
from edifice_tt.training.features import features_beside, save_features
from edifice_tt.training.progress import Epoch

site = pytest.fixture(open_site, name="site")


@pytest.fixture
def run(monkeypatch, capsys, tiny_lm, tmp_path):
    """Run a command in this process; every model is the tiny one."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(et, "load_pretrained", lambda *_, **__: tiny_lm, raising=False)

    def run(*argv, status=0):
        capsys.readouterr()
        found = cli.main([str(argument) for argument in argv])
        out, err = capsys.readouterr()
        assert found == status, err
        return out if status == 0 else err

    return run


@pytest.fixture
def graded(tiny_lm, tmp_path):
    """Twelve problems of four answers; those that end in an even byte are right."""
    settings = {"model": "tiny", "fingerprint": tiny_lm.fingerprint}
    pools = []
    for i in range(12):
        made = [(60 + (7 * i + 3 * j) % 40, 60 + (5 * i + j) % 40) for j in range(4)]
        pool = tuple(
            et.Candidate(j, "", ids, correct=ids[1] % 2 == 0) for j, ids in enumerate(made)
        )
        pools.append(et.Pool(f"q{i}", pool, settings, str(i)))
    et.write_pools(tmp_path / "pool.jsonl", pools)
    return pools


TRAIN = ("train", "pool.jsonl", "-o", "judge.safetensors", "--epochs", 3)


def test_tasks_are_listed(run):
    shown = json.loads(run("tasks", "--json"))
    assert [task["name"] for task in shown] == et.list_tasks()
    assert {"summary", "answer", "max_tokens", "stop"} < set(shown[0])
    assert "the largest of four two-digit numbers" in run("tasks")


@pytest.mark.slow
def test_a_task_becomes_a_pool_with_marks(run, tiny_lm):
    given = ("--model", "tiny", "-n", 2, "--seed", 3, "-o", "pool.jsonl")
    run("generate", "--task", "add", "--num", 2, "--split", "test", *given)
    pools = list(et.read_pools("pool.jsonl"))
    problems = et.make_problems("add", 2, split="test")
    asked = [(p.prompt, p.problem, p.gold) for p in problems]
    assert [(pool.prompt, pool.problem, pool.gold) for pool in pools] == asked
    assert {c.correct for pool in pools for c in pool} <= {True, False}
    settings = pools[0].settings
    assert (settings["max_tokens"], settings["stop"]) == (6, ["\n"])
    assert (settings["template"], settings["answer"]) == ("raw", "number")


def test_a_task_of_a_plugin_is_sampled_and_marked_by_the_plugins_extractor(run, site):
    site.install(
        "letters",
        "import edifice_tt\n\n@edifice_tt.hookimpl\ndef register_tasks(register):\n"
        "    register('next', lambda rng: (f'{rng.random()} is', 'X'), answer='any', stop=['.'],\n"
        "             max_tokens=3)\n\n"
        "@edifice_tt.hookimpl\ndef register_answers(register):\n"
        "    register('any', lambda text: 'Y' if text else None, equal=lambda one, other: True)\n",
    )
    assert "next" in run("tasks")
    run("generate", "--task", "next", "--num", 2, "-n", 2, "-o", "pool.jsonl")
    pools = list(et.read_pools("pool.jsonl"))
    assert [pool.problem for pool in pools] == [p.problem for p in et.make_problems("next", 2)]
    assert all(c.correct and c.answer == "Y" for pool in pools for c in pool if c.text)
    settings = pools[0].settings
    assert (settings["answer"], settings["max_tokens"], settings["stop"]) == ("any", 3, ["."])


def test_what_is_given_counts_before_what_the_task_says(run):
    given = ("-n", 1, "--max-tokens", 2, "--stop", "9", "--answer", "text", "-o", "pool.jsonl")
    run("generate", "--task", "add", "--num", 1, *given)
    settings = next(et.read_pools("pool.jsonl")).settings
    assert (settings["max_tokens"], settings["stop"], settings["answer"]) == (2, ["9"], "text")


def test_without_a_task_an_answer_still_has_128_tokens(run):
    assert json.loads(run("generate", "q", "-n", 1, "--json"))["settings"]["max_tokens"] == 128


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (("generate", "q", "--task", "add"), "either a prompt"),
        (("generate", "--task", "ad", "-o", "p"), "did you mean 'add'"),
        (("generate", "--task", "add"), "--task need a pool file"),
        (("generate", "q", "--num", "3"), "--num and --split are for --task"),
        ((*TRAIN, "--loss", "outcom"), "did you mean 'outcome'"),
        ((*TRAIN, "--scorer", "logprob"), "reads logprobs"),
        ((*TRAIN, "--layer", "9"), "--layer 9 must be"),
        (("layers", "pool.jsonl", "--layers", "1,9"), "layer=9 must be"),
        (("best-of", "q", "--verifier", "none"), "none: cannot be read"),
        (("best-of", "q", "--verifier", "none", "--scorer", "logprob"), "--scorer or --verifier"),
        (("score", "pool.jsonl", "--verifier", "pool.jsonl"), "not a safetensors file"),
    ],
)
def test_mistakes_are_one_line(run, graded, argv, words):
    err = run(*argv, status=2)
    assert words in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("how", [(), ("--resume",), ("--force",)])
def test_a_second_training_of_one_output_is_refused_at_once(run, graded, tmp_path, how):
    (tmp_path / "judge.safetensors.partial").touch()
    with working_alone(tmp_path / "judge.safetensors"):
        said = run(*TRAIN, *how, status=2)
    reason = "another process is writing to it; wait for it"
    assert said.strip() == f"edifice-tt: error: judge.safetensors: {reason}"
    assert (tmp_path / "judge.safetensors.partial").exists()


@pytest.mark.slow
def test_train_then_score_then_best_of(run, graded, tiny_lm, tmp_path):
    shown = json.loads(run(*TRAIN, "--json"))
    assert shown["num_train"] == shown["held_out"]["problems"] == 12
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "judge.safetensors",
        "pool.jsonl",
        "pool.jsonl.layer2-last.safetensors",
    ]
    verifier = et.load_verifier("judge.safetensors")
    assert verifier.name == "judge"
    fresh = replace(graded[0], prompt="new", problem="new")
    fresh.save("new.jsonl")
    run("score", "new.jsonl", "--verifier", "judge.safetensors")
    scored = et.Pool.load("new.jsonl")
    assert scored.candidates == et.score(tiny_lm, fresh, verifier).candidates
    assert scored.ranges == {"judge": "probability"}
    about = PoolFile("new.jsonl").scorers["judge"]
    assert about["fingerprint"] == tiny_lm.fingerprint
    assert about["owner"] == "verifier judge.safetensors"
    argv = ("best-of", "hello", "-n", 4, "--max-tokens", 4, "--verifier", "judge.safetensors")
    best = json.loads(run(*argv, "--json"))
    scores = {str(c["index"]): c["scores"]["judge"] for c in best["pool"]["candidates"]}
    assert best["choice"]["tally"] == scores


@pytest.fixture
def verifier(graded, tiny_lm):
    """A verifier of the pool's model, whose head nobody has trained."""
    options = {"scorer_hidden": 5, "dropout": 0.0, "seed": 4}
    plain = np.zeros(24, np.float32), np.ones(24, np.float32)
    head = place(new_head("mlp", 24, options), "CPU")
    verifier = et.Verifier("judge", "mlp", options, 1, 24, tiny_lm.fingerprint, head, *plain)
    verifier.save("judge.safetensors")
    return verifier


SCORE = ("score", "pool.jsonl", "--verifier", "judge.safetensors")


def scores_of(path="pool.jsonl"):
    return [c.scores["judge"] for pool in et.read_pools(path) for c in pool]


def never(*_, **__):
    pytest.fail("it was read again")


@pytest.mark.slow
@pytest.mark.parametrize("positions", ["last", "all"])
def test_what_training_has_read_scoring_does_not_read_again(
    run, graded, verifier, tiny_lm, monkeypatch, positions
):
    expected = [c.scores["judge"] for p in graded for c in et.score(tiny_lm, p, verifier)]
    features_beside(tiny_lm, "pool.jsonl", [1], positions)
    monkeypatch.setattr("edifice_tt.scoring.verifier.read_hidden", never)
    run(*SCORE)
    assert scores_of() == expected


@pytest.mark.slow
def test_a_verifier_of_steps_reads_more_than_the_last_states_that_are_kept(
    run, graded, verifier, tiny_lm
):
    few = graded[:2]
    et.write_pools("pool.jsonl", few, overwrite=True)
    by_steps = replace(verifier, reads="steps", ends=frozenset(range(0, 300, 2)))
    by_steps.save("judge.safetensors")
    expected = [c.scores["judge"] for p in few for c in et.score(tiny_lm, p, by_steps)]
    features_beside(tiny_lm, "pool.jsonl", [1], "last")
    run(*SCORE)
    assert scores_of() == expected


@pytest.mark.parametrize("what", ["another layer", "another model", "damaged", "more candidates"])
@pytest.mark.first(1)
def test_kept_states_that_do_not_fit_are_read_anew(
    run, graded, verifier, tiny_lm, tmp_path, capsys, what
):
    et.write_pools("pool.jsonl", graded[:3])
    expected = [c.scores["judge"] for p in graded[:3] for c in et.score(tiny_lm, p, verifier)]
    if what == "more candidates":
        et.write_pools("few.jsonl", graded[:2])
        made = features_beside(tiny_lm, "few.jsonl", [1])[1]
    else:
        made = features_beside(tiny_lm, "pool.jsonl", [2 if what == "another layer" else 1])
        made = next(iter(made.values()))
    file = tmp_path / "pool.jsonl.layer1-last.safetensors"
    if what == "another model":
        made = replace(made, source=replace(made.source, fingerprint="0" * 32))
    if what != "another layer":
        save_features(made, file, "CPU")
    if what == "damaged":
        file.write_bytes(file.read_bytes()[:-9])
    assert cli.main(list(SCORE)) == 0
    assert scores_of() == expected
    told = capsys.readouterr().err
    assert ("here it is left out" in told) == (what in ("another model", "damaged"))


@pytest.mark.parametrize("verbose", [False, True])
def test_a_line_an_epoch_is_printed_where_it_is_asked_for(
    run, graded, monkeypatch, capsys, verbose
):
    epoch = Epoch(2, 3, 0.5, 0.25, 0.75)
    read = {2: SimpleNamespace(states={}, source=None)}
    monkeypatch.setattr("edifice_tt.training.features.features_beside", lambda *_: read)

    def fit(*_, on_epoch, **__):
        if on_epoch is not None:
            on_epoch(epoch)
        raise ValueError("enough")

    monkeypatch.setattr(et, "fit_scorer", fit, raising=False)
    assert cli.main([*map(str, TRAIN), *(["--verbose"] if verbose else [])]) == 2
    told = capsys.readouterr().err.splitlines()
    line = "edifice-tt: fold 2, epoch 3: loss 0.5000, held out 0.2500, AUROC 0.750"
    assert told == [*([line] if verbose else []), "edifice-tt: error: enough"]


@pytest.mark.slow
def test_layers_are_compared_and_none_is_chosen(run, graded, tmp_path):
    given = ("pool.jsonl", "--scorer", "linear", "--epochs", 2)
    shown = json.loads(run("layers", *given, "--json"))
    assert [one["layer"] for one in shown] == [1, 2]
    assert min(one["behind"] for one in shown) == 0
    table = run("layers", *given, "--layers", "2").splitlines()
    assert table[0].split("  ")[0] == "layer"
    assert table[1].startswith(f"2      {shown[1]['auroc_within']:.3f} (")
    assert "problems with right and wrong answers, each held out once" in table[-2]
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "pool.jsonl",
        "pool.jsonl.layer1-last.safetensors",
        "pool.jsonl.layer2-last.safetensors",
    ]


@pytest.mark.slow
def test_a_training_that_broke_off_is_resumed_or_begun_anew(run, graded, tmp_path, monkeypatch):
    from edifice_tt.cli import training

    run(*TRAIN)
    whole = (tmp_path / "judge.safetensors").read_bytes()
    (tmp_path / "judge.safetensors").unlink()

    def kill(epoch):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(training, "_tell", kill)
        run(*TRAIN, "--verbose", status=130)
    assert (tmp_path / "judge.safetensors.partial").exists()
    assert "--resume to go on" in run(*TRAIN, status=2)
    run(*TRAIN, "--resume")
    assert (tmp_path / "judge.safetensors").read_bytes() == whole
    assert not (tmp_path / "judge.safetensors.partial").exists()
    assert "exists; use --resume" in run(*TRAIN, status=2)
    run(*TRAIN, "--force")
    assert (tmp_path / "judge.safetensors").read_bytes() == whole


@pytest.mark.slow
def test_scoring_what_a_verifier_was_trained_on_is_one_warning_and_stays_in_the_file(
    run, graded, capsys
):
    run(*TRAIN)
    new = replace(graded[0], prompt="another question", problem="new")
    et.write_pools("mixed.jsonl", [*graded, new])
    argv = ["score", "mixed.jsonl", "--verifier", "judge.safetensors"]
    assert cli.main(argv) == 0
    told = [line for line in capsys.readouterr().err.splitlines() if "trained on" in line]
    assert len(told) == 1
    assert "'judge' was trained on 12 of these 13 problems" in told[0]
    assert [bool(pool.seen_by) for pool in et.read_pools("mixed.jsonl")] == [True] * 12 + [False]
    run("grade", "pool.jsonl", "--answer", "text", status=2)  # these have no gold answers
    run("merge", "mixed.jsonl", "pool.jsonl", "-o", "both.jsonl")
    (judge,) = json.loads(run("curve", "both.jsonl", "--scorer", "judge", "--json"))["scorers"]
    assert judge["trained_on"] == 12
