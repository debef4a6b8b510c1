"""The commands as a person meets them: what they print, where, and with which exit status."""

import json
import os
import re
import subprocess
import sys
import warnings
from dataclasses import replace
from pathlib import Path

import pytest
from fake_plugins import Site, open_site

import edifice_tt as et
from edifice_tt import cli
from edifice_tt.contract.errors import PrecisionWarning
from edifice_tt.contract.registry import load_registry

site = pytest.fixture(open_site, name="site")

COMMANDS = [
    *("list", "plugins", "doctor", "models", "pull", "generate", "best-of", "chat"),
    *("score", "select", "grade", "import-pool", "merge", "judge", "curve", "tasks", "train"),
    *("show", "split", "export", "replay", "search"),
]
FEW = ["--model", "tiny", "-n", "4", "--max-tokens", "6"]


class Outcome:
    """Exit status and what was printed."""

    def __init__(self, status: int, out: str, err: str) -> None:
        self.status, self.out, self.err = status, out, err

    @property
    def json(self):
        return json.loads(self.out)


@pytest.fixture
def run(monkeypatch, capsys, tiny_lm):
    """Run a command in this process; the model called `tiny` is there."""
    load_pretrained = et.load_pretrained

    def load(model, **options):
        if str(model) != "tiny" or options.get("activations", "float32") != "float32":
            return load_pretrained(model, **options)
        return tiny_lm

    monkeypatch.setattr(et, "load_pretrained", load, raising=False)

    def run(*argv) -> Outcome:
        capsys.readouterr()
        try:
            status = cli.main([str(argument) for argument in argv])
        except SystemExit as error:
            status = error.code
        return Outcome(status, *capsys.readouterr())

    return run


@pytest.fixture
def no_sampling(monkeypatch):
    """Nothing may be loaded or sampled."""

    def refuse(*arguments, **options):
        pytest.fail("the mistake was found only after the model was loaded or had sampled")

    monkeypatch.setattr(et, "load_pretrained", refuse, raising=False)
    monkeypatch.setattr(et, "generate", refuse, raising=False)


@pytest.fixture
def terminal(monkeypatch):
    """A person watches standard error."""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)


@pytest.fixture
def pool_file(tmp_path):
    pool = et.Pool(
        "q",
        (
            et.Candidate(0, "it is 3", (1, 2), (-1.0, -2.0), "eos"),
            et.Candidate(1, "it is 4", (3,), (-0.5,), "length"),
            et.Candidate(2, "4\u2028.0", (3, 4), (-4.0, -4.0), "stop"),
        ),
        {"model": "tiny", "seed": 0},
    )
    pool.save(tmp_path / "pool.jsonl")
    return tmp_path / "pool.jsonl"


def timeless(pool):
    """A pool as JSON without the time that each candidate took, and its scoring."""
    candidates = [{**candidate, "seconds": None} for candidate in pool["candidates"]]
    return {**pool, "candidates": candidates, "scoring": None}


def check_mistake(outcome: Outcome, *words: str) -> None:
    """A mistake of the user's: one line on standard error, nothing else, exit status 2."""
    assert outcome.status == 2, outcome.err
    assert outcome.err.count("\n") == 1, outcome.err
    assert outcome.err.startswith("edifice-tt"), outcome.err
    assert "error: " in outcome.err
    assert outcome.out == ""
    for word in words:
        assert word in outcome.err


@pytest.mark.parametrize("command", [("generate", "Hi"), ("best-of", "Hi")], ids=str)
def test_activations_reach_the_loader(run, tiny_lm, tmp_path, command):
    et.save(tiny_lm, tmp_path / "m.safetensors")
    model = ("--model", tmp_path / "m.safetensors", "--activations")
    mistake = "--activations int4 must be 'float32', 'float16', 'bfloat16' or 'int8'"
    check_mistake(run(*command, *model, "int4"), mistake)
    check_mistake(run(*command, *model, "int8"), "--activations int8 is for GGUF files")


# --- list, doctor; plugins has tests of its own beside this


def test_list_shows_everything_that_is_registered(run):
    found = run("list")
    assert (found.status, found.err) == (0, "")
    rules = [*et.list_selectors(), *et.list_extractors(), *et.list_tasks(), *et.list_searches()]
    for name in [*et.list_architectures(), *et.list_scorers(), *rules]:
        assert name in found.out
    assert re.search(r"^smollm2-verifier .*hidden states of\n .*  smollm2-135m$", found.out, re.M)


def test_list_as_json_has_names_summaries_and_owners(run):
    found = run("list", "--json")
    assert (found.status, found.err) == (0, "")
    kinds = {
        "architectures": et.list_architectures(),
        "executors": et.list_executors(),
        "extractors": et.list_extractors(),
        "scorers": et.list_scorers(),
        "searches": et.list_searches(),
        "selectors": et.list_selectors(),
        "tasks": et.list_tasks(),
        "verifiers": et.list_verifiers(),
    }
    assert found.json.keys() == kinds.keys()
    for kind, known in kinds.items():
        assert sorted(record["name"] for record in found.json[kind]) == known
        more = {"scorers": {"reads"}, "searches": {"reads", "breaks"}}
        fields = {"name", "owner", "summary"} | more.get(kind, set())
        assert all(record.keys() == fields for record in found.json[kind])


@pytest.mark.slow
def test_doctor_checks_the_numbers(run, monkeypatch):
    monkeypatch.setenv("EDIFICE_TT_PLUGINS", "")  # a broken one is none of this machine's faults
    found = run("doctor", "--quick", "--json")
    assert (found.status, found.err) == (0, "")
    assert found.json["ok"] is True
    checks = {check["name"]: check for check in found.json["checks"]}
    assert {"edifice-tt", "python", "tinygrad", "clang", "devices", "self-check"} <= checks.keys()
    assert checks["self-check"]["ok"] is True
    assert checks["edifice-tt"]["found"] == et.__version__


def test_doctor_that_finds_a_fault_exits_with_one_and_says_what_to_do(run):
    found = run("doctor", "--device", "NOSUCH")
    assert found.status == 1
    assert "FAIL" in found.out
    assert "NOSUCH" in found.out
    assert found.err == ""
    assert run("doctor", "--device", "NOSUCH", "--json").json["ok"] is False


# --- generate


@pytest.mark.slow
def test_generate_prints_the_candidates(run):
    found = run("generate", "hello", *FEW)
    assert (found.status, found.err) == (0, "")
    assert len([line for line in found.out.splitlines() if "length" in line]) >= 4


@pytest.mark.slow
def test_generate_as_json_is_the_pool(run, tiny_lm):
    found = run("generate", "hello", *FEW, "--raw", "--seed", "5", "--json")
    assert (found.status, found.err) == (0, "")
    pool = et.generate(tiny_lm, "hello", n=4, seed=5, max_tokens=6)
    assert timeless(found.json) == timeless(json.loads(json.dumps(pool.to_dict())))


@pytest.mark.slow
def test_generate_writes_a_pool_that_can_be_read(run, tmp_path, tiny_lm):
    path = tmp_path / "pool.jsonl"
    found = run("generate", "hello", *FEW, "--raw", "-o", path)
    assert found.status == 0
    assert found.out.startswith(
        f"4 candidates of 1 problem in {path}; this run made 4, of 24 tokens"
    )
    assert found.err == ""
    assert et.Pool.load(path) == et.generate(tiny_lm, "hello", n=4, max_tokens=6)


@pytest.mark.slow
def test_every_sampling_option_reaches_the_sampler(run):
    found = run(
        *("generate", "q", "--model", "tiny", "-n", 2, "--seed", 7, "--temperature", 1.5),
        *("--top-k", 9, "--top-p", 0.7, "--max-tokens", 3, "--stop", "\n", "--stop", "ab"),
        "--json",
    )
    settings = found.json["settings"]
    expected = {"n": 2, "seed": 7, "temperature": 1.5, "top_k": 9, "top_p": 0.7, "max_tokens": 3}
    assert {name: settings[name] for name in expected} == expected
    assert settings["stop"] == ["\n", "ab"]


@pytest.mark.slow
def test_the_prompt_is_a_chat_unless_it_is_raw(run):
    asked = run("generate", "hi", *FEW, "--system", "Be brief.", "--json").json["prompt"]
    assert asked == (
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nhi<|im_end|>\n"
        "<|im_start|>assistant\n"
    )
    assert run("generate", "hi", *FEW, "--raw", "--json").json["prompt"] == "hi"


def test_a_dash_reads_the_prompt_from_standard_input(run, monkeypatch):
    import io

    monkeypatch.setattr(sys, "stdin", io.StringIO("from\nstandard input"))
    assert run("generate", "-", *FEW, "--raw", "--json").json["prompt"] == "from\nstandard input"
    monkeypatch.setattr(sys, "stdin", io.StringIO(" \n"))
    check_mistake(run("generate", "-", *FEW), "the prompt is empty")


# --- generate into a file


@pytest.fixture
def problems(tmp_path):
    """Three problems, one without an id, one without a gold answer."""
    path = tmp_path / "problems.jsonl"
    path.write_text(
        '{"problem": "sum", "prompt": "1 + 1?", "gold": 2}\n'
        '{"prompt": "hello"}\n{"problem": "last", "prompt": "bye", "gold": "x"}\n'
    )
    return path


def test_generate_makes_a_pool_of_many_problems(run, tmp_path, tiny_lm, problems):
    path = tmp_path / "pool.jsonl"
    found = run("generate", "--problems", problems, *FEW, "--raw", "--answer", "text", "-o", path)
    assert (found.status, found.err) == (0, "")
    given = {"n": 4, "max_tokens": 6, "answer": "text"}
    assert list(et.read_pools(path)) == [
        et.generate(tiny_lm, "1 + 1?", problem="sum", gold="2", **given),
        et.generate(tiny_lm, "hello", problem="1", **given),
        et.generate(tiny_lm, "bye", problem="last", gold="x", **given),
    ]


def test_generate_resumes_and_says_what_it_made(run, tmp_path, problems):
    path, whole = tmp_path / "pool", tmp_path / "whole"
    given = ("generate", "--problems", problems, *FEW, "--json")
    counts = {"problems": 3, "candidates": 12}
    made = {"made": 12, "tokens": 72, "cut_off": 12}
    assert run(*given, "-o", whole).json == {"pool": str(whole), **counts, **made}
    path.write_bytes(b"".join(whole.read_bytes().splitlines(keepends=True)[:8]) + b'{"kin')
    found = run(*given, "-o", path, "--resume")
    assert found.status == 0
    made = {"made": 7, "tokens": 42, "cut_off": 7}
    assert found.json == {"pool": str(path), **counts, **made}
    assert found.err.count("\n") == 1
    assert f"warning: {path}, line 9: cut off after 5 bytes" in found.err
    assert list(et.read_pools(path)) == list(et.read_pools(whole))
    assert run(*given, "-o", path, "--resume").json["made"] == 0


def test_ctrl_c_in_a_file_says_how_to_go_on(run, tmp_path, monkeypatch, problems):
    from edifice_tt.sampling import runs

    real, path = runs.sample, tmp_path / "pool"

    def interrupted(lm, problem, *arguments):
        if problem.problem == "last":
            raise KeyboardInterrupt
        real(lm, problem, *arguments)

    monkeypatch.setattr(runs, "sample", interrupted)
    given = ("generate", "--problems", problems, *FEW, "-o", path)
    found = run(*given)
    assert (found.status, found.out) == (130, "")
    assert found.err == (
        f"edifice-tt: interrupted; 8 of 12 candidates are in {path}; the same command with "
        "--resume makes the others\n"
    )
    monkeypatch.setattr(runs, "sample", real)
    assert run(*given, "--resume").status == 0
    assert [len(pool) for pool in et.read_pools(path)] == [4, 4, 4]


@pytest.mark.parametrize("command", ["generate", "best-of"])
def test_a_file_is_not_written_over_unless_it_is_forced(run, request, tmp_path, command):
    path = tmp_path / "pool"
    path.write_text("precious")
    given = (command, "q", *FEW, "-o", path)
    words = ["exists", "--force"] + ["--resume"] * (command == "generate")
    check_mistake(run(*given), str(path), *words)
    assert path.read_text() == "precious"
    assert run(*given, "--force").status == 0
    assert len(et.Pool.load(path)) == 4


def test_resuming_with_other_settings_is_one_line(run, tmp_path):
    path = tmp_path / "pool"
    run("generate", "q", *FEW, "-o", path)
    found = run("generate", "q", *FEW, "--seed", 3, "-o", path, "--resume")
    check_mistake(found, str(path), "was made with --seed 0, given --seed 3")
    check_mistake(run("generate", "other", *FEW, "-o", path, "--resume"), "prompt=")
    check_mistake(run("generate", "q", *FEW, "--raw", "-o", path, "--resume"), "template='chat'")


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ([], ["either a prompt or --problems"]),
        (["q", "--problems", "x", "-o", "pool"], ["either a prompt or --problems"]),
        (["--problems", "x"], ["--problems need", "-o"]),
        (["q", "--resume"], ["--resume", "-o"]),
        (["q", "--resume", "--force", "-o", "pool"], ["--force", "--resume"]),
        (["--problems", "nowhere", "-o", "pool"], ["nowhere", "No such file"]),
        (["q", "--answer", "numbr"], ["'numbr'; did you mean 'number'"]),
        (["q", "--answer", "numbr", "-o", "pool"], ["'numbr'; did you mean 'number'"]),
    ],
    ids=str,
)
def test_a_mistake_about_the_file_is_found_before_any_work(
    run, no_sampling, tmp_path, monkeypatch, given, words
):
    monkeypatch.chdir(tmp_path)
    check_mistake(run("generate", *given), *words)
    assert list(tmp_path.iterdir()) == []


# --- score and select


def test_score_appends_to_the_file_and_shows_the_scores(run, pool_file):
    before = pool_file.read_bytes()
    found = run("score", pool_file)
    assert (found.status, found.err) == (0, "")
    assert "-1.5000" in found.out
    assert pool_file.read_bytes().startswith(before)
    scores = [c.scores["logprob"] for c in et.Pool.load(pool_file)]
    assert scores == [-1.5, -0.5, -4.0]


def test_score_as_json_is_the_scored_pool(run, pool_file):
    found = run("score", pool_file, "--json")
    assert (found.status, found.err) == (0, "")
    (pool,) = found.json
    assert [c["scores"] for c in pool["candidates"]] == [
        {"logprob": -1.5},
        {"logprob": -0.5},
        {"logprob": -4.0},
    ]


@pytest.mark.slow
def test_score_takes_a_model_for_its_head(run, tmp_path):
    path = tmp_path / "pool"
    run("generate", "hello", *FEW, "-o", path)
    assert run("score", path, "--scorer", "linear", "--model", "tiny").status == 0
    assert et.Pool.load(path).scorers == ["linear"]


def test_confidence_is_kept_scored_and_chosen_by(run, tmp_path):
    path, scorer = tmp_path / "sure.jsonl", "deepconf:part=tail:window=2"
    kept = ["--temperature", "5", "--confidence", "deepconf,entropy"]
    assert run("generate", "q", *FEW, *kept, "-o", path).status == 0
    check_mistake(run("score", path, "--scorer", "self_certainty"), "it holds deepconf, entropy; ")
    for name in (scorer, "entropy", "perplexity"):
        assert run("score", path, "--scorer", name).status == 0
    pool = et.Pool.load(path)
    for candidate in pool:
        last = candidate.token_confidences["deepconf"][-2:]
        assert candidate.scores[scorer] == pytest.approx(sum(last) / len(last))
    (row,) = run("select", path, "--scorer", scorer, "--json").json
    assert row["choice"]["index"] == max(pool, key=lambda c: c.scores[scorer]).index
    found = run("select", path, "--rule", "weighted", "--scorer", "entropy", "--cut-off", "vote")
    assert found.status == 0, found.err
    check_mistake(
        run("select", path, "--rule", "weighted", "--scorer", scorer), "declares range='unbounded'"
    )


def test_best_of_keeps_the_confidence_that_its_scorer_reads(run):
    name = "deepconf_weight:window=3"
    found = run("best-of", "q", *FEW, "--scorer", name, "--rule", "weighted", "--json")
    assert found.json["pool"]["settings"]["confidence"] == ["deepconf"]
    assert all(name in candidate["scores"] for candidate in found.json["pool"]["candidates"])
    plain = run("best-of", "q", *FEW, "--json").json["pool"]
    assert "confidence" not in plain["settings"]


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--confidence", "entropi"], "unknown measure of confidence 'entropi'; did you mean"),
        (["--confidence", "entropy,"], "unknown measure of confidence ''"),
        (["--scorer", "deepconf:window=0"], "window=0"),
        (["--scorer", "deepconf:part=head"], "part='head' must be one of lowest, tail, bottom"),
        (["--scorer", "deepconf", "--rule", "weighted"], "range='unbounded'"),
    ],
)
def test_a_mistake_in_confidence_is_told_before_anything_is_sampled(
    run, no_sampling, arguments, word
):
    check_mistake(run("best-of", "q", *FEW, *arguments), word)


def test_select_prints_the_text_of_the_choice_alone(run, pool_file):
    run("score", pool_file)
    found = run("select", pool_file)
    assert (found.status, found.out) == (0, "it is 4\n")
    assert found.err == ("edifice-tt: warning: cut off before their end: 1 of 1 chosen answers\n")


def test_select_takes_a_rule_and_what_it_compares(run, pool_file):
    vote = ["--rule", "majority", "--cut-off", "vote"]
    by_number = run("select", pool_file, *vote, "--answer", "number", "--json")
    (found,) = by_number.json
    assert (found["problem"], found["gold"]) == ("0", None)
    assert found["choice"] == {
        "index": 0,
        "text": "it is 3",
        "rule": "majority",
        "tally": {"3": 1.0, "4": 1.0, "0": 1.0},
        "abstained": 0,
    }
    given = [*vote, "--answer", r"regex:\d"]
    assert run("select", pool_file, *given).out == "it is 3\n"
    given = [*vote, "--answer", r"regex:[4]"]
    assert run("select", pool_file, *given, "--json").json[0]["choice"]["index"] == 1


def test_an_answer_that_was_cut_off_abstains_unless_it_is_to_vote(run, pool_file):
    given = ["select", pool_file, "--rule", "majority", "--answer", "regex:[4]"]
    assert [one["choice"]["index"] for one in run(*given, "--json").json] == [2]
    (found,) = run(*given, "--cut-off", "abstain", "--json").json
    assert found["choice"]["tally"] == {"4": 1.0}
    (found,) = run(*given, "--cut-off", "vote", "--json").json
    assert found["choice"]["tally"] == {"4": 2.0}
    check_mistake(run("select", pool_file, "--cut-off", "vote"), "takes no option 'cut_off'")
    check_mistake(run(*given, "--option", "cut_off=vote"), "give it as --cut-off vote")


def test_select_takes_the_scorer_to_compare(run, pool_file):
    run("score", pool_file)
    found = run("select", pool_file, "--scorer", "logprob", "--json")
    assert found.json[0]["choice"]["index"] == 1
    assert found.json[0]["choice"]["tally"] == {"0": -1.5, "1": -0.5, "2": -4.0}


JUDGE = """
import edifice_tt

@edifice_tt.hookimpl
def register_scorers(register):
    steps = lambda prompt, completions: [[0.5, 0.25, 0.75] for _ in completions]
    register("judge", lambda: steps, reads="text", range="probability", level="step")
"""


@pytest.mark.parametrize(
    ("how", "score"), [((), 0.75), (("--reduce", "min"), 0.25), (("--reduce", "mean"), 0.5)]
)
def test_score_reduces_steps_as_it_is_told(run, site: Site, pool_file, how, score):
    site.install("judge", JUDGE)
    assert run("score", pool_file, "--scorer", "judge", *how).status == 0
    for candidate in et.Pool.load(pool_file):
        assert candidate.scores == {"judge": score}
        assert candidate.step_scores == {"judge": (0.5, 0.25, 0.75)}
    best = run("best-of", "q", *FEW, "--scorer", "judge", *how, "--json").json["pool"]
    assert best["candidates"][0]["scores"] == {"judge": score}


@pytest.mark.slow
def test_an_option_of_a_rule_reaches_it(run, site: Site, pool_file):
    tallies = [
        run("select", pool_file, "--rule", "random", "--option", f"seed={i}", "--json").json[0]
        for i in range(20)
    ]
    assert {one["choice"]["index"] for one in tallies} == {0, 1, 2}
    site.install("judge", JUDGE)
    run("score", pool_file, "--scorer", "judge")
    given = ("select", pool_file, "--rule", "pessimistic", "--json", "--option")
    assert run(*given, "delta=1").json[0]["choice"]["tally"]["it is 3"] == 0.75
    check_mistake(run(*given, "delta=7"), "delta=7.0 must be above 0")


def test_an_option_has_the_type_that_the_rule_says(run, site: Site, pool_file):
    site.install(
        "picky",
        "import edifice_tt\nfrom edifice_tt import Choice\n\n"
        "def picky(candidates, *, a: int | None = None, b: float = 2, c=True, d: str = '', **e):\n"
        "    raise ValueError(repr((a, b, c, d, e)))\n\n"
        "@edifice_tt.hookimpl\ndef register_selectors(register):\n"
        "    register('picky', picky)\n",
    )
    given = ("select", pool_file, "--rule", "picky")
    found = run(*given, *(f"--option={one}" for one in ("a=3", "b=4", "c=false", "d=5", "e=6")))
    check_mistake(found, "(3, 4.0, False, '5', {'e': 6})")
    loose = run(*given, "--option=f=x=y", "--option=g=0.5", "--option=h=true")
    check_mistake(loose, "{'f': 'x=y', 'g': 0.5, 'h': True}")
    check_mistake(run(*given, "--option=c=7"), "c=7", "expects true or false")


@pytest.mark.parametrize("command", ["select", "best-of"])
def test_the_help_names_the_rules_that_an_option_serves(run, command):
    parser = cli.make_parser()
    (commands,) = (a for a in parser._actions if a.metavar == "COMMAND")
    texts = {a.dest: a.help for a in commands.choices[command]._actions}
    for rule, record in load_registry().selectors.items():
        if record.owner == "edifice-tt":
            assert rule in texts["rule"]
            for option in record.options:
                assert (
                    rule in texts[option if option in ("scorer", "answer", "cut_off") else "option"]
                )


# --- pools of many problems


@pytest.fixture
def many(tmp_path):
    """Two problems; in the second nobody has a number for an answer."""
    settings = {"model": "big"}
    first = (et.Candidate(0, "it\nis 3", (1,), (-1.0,)), et.Candidate(1, "so 4", (2,), (-0.5,)))
    second = (et.Candidate(0, "dunno", (1,), (-2.0,)),)
    pools = [et.Pool("q", first, settings, "a", "3"), et.Pool("r", second, settings, "b", "5")]
    et.write_pools(tmp_path / "many.jsonl", pools)
    return tmp_path / "many.jsonl"


def test_score_scores_every_problem_and_appends(run, many):
    before = many.read_bytes()
    found = run("score", many)
    assert (found.status, found.err) == (0, "")
    assert "3 candidates of 2 problems" in found.out
    assert many.read_bytes().startswith(before)
    line = json.loads(many.read_bytes()[len(before) :].splitlines()[0])
    assert (line["kind"], line["owner"]) == ("scorer", f"edifice-tt {et.__version__}")
    assert line["range"] == "unbounded"
    scores = [[c.scores["logprob"] for c in pool] for pool in et.read_pools(many)]
    assert scores == [[-1.0, -0.5], [-2.0]]
    again = run("score", many, "--json")
    assert [pool["problem"] for pool in again.json] == ["a", "b"]
    assert [[c.scores["logprob"] for c in pool] for pool in et.read_pools(many)] == scores


def test_select_prints_a_line_a_problem(run, many):
    run("score", many)
    found = run("select", many)
    assert (found.status, found.err) == (0, "")
    assert [line.split()[:4] for line in found.out.splitlines()] == [
        ["problem", "#", "answer"],
        ["a", "1", "so", "4"],
        ["b", "0", "dunno"],
        [],
        ["not", "marked:", "2", "problems"],
    ]
    as_json = run("select", many, "--json").json
    assert [(c["problem"], c["gold"], c["choice"]["index"]) for c in as_json] == [
        ("a", "3", 1),
        ("b", "5", 0),
    ]


def test_select_goes_on_where_a_problem_has_no_choice(run, many):
    given = ("select", many, "--rule", "majority", "--answer", "number")
    found = run(*given)
    assert found.status == 0
    assert [line.split()[:2] for line in found.out.splitlines()[1:3]] == [["a", "0"], ["b", "-"]]
    assert found.err.count("\n") == 1
    assert "warning: no choice for 1 of 2 problems" in found.err
    assert [c["choice"] and c["choice"]["index"] for c in run(*given, "--json").json] == [0, None]


def test_select_asks_the_plugins_no_more_for_many_problems_than_for_one(run, site, tmp_path):
    """Also while one is broken, of which nothing is kept."""
    site.install("broken", "import sys\nsys.asked = getattr(sys, 'asked', 0) + 1\nraise OSError")
    asked = []
    for size in (1, 7):
        pools = [et.Pool("q", (et.Candidate(0, "7"),), problem=str(i)) for i in range(size)]
        et.write_pools(tmp_path / "a.jsonl", pools)
        sys.asked = 0
        assert run("select", tmp_path / "a.jsonl", "--rule", "majority").status == 0
        asked.append(sys.asked)
    assert asked[0] == asked[1] > 0


def test_select_tells_in_one_line_how_many_problems_are_unfinished(run, tmp_path):
    path = tmp_path / "a.jsonl"
    pools = [
        et.Pool("q", tuple(et.Candidate(i, "7") for i in range(size)), {"n": 3}, f"p{size}")
        for size in (1, 3, 2)
    ]
    et.write_pools(path, pools)
    found = run("select", path, "--rule", "majority")
    assert found.status == 0
    assert found.err.count("\n") == 1
    assert "2 of 3 problems are unfinished: problem 'p1' has 1 of 3 candidates" in found.err
    assert "--resume" in found.err


def test_select_holds_no_vote_in_a_file_that_is_graded_in_part(run, many):
    """The one whose problem came later would vote by whole texts, the others by answers."""
    run("grade", many, "--answer", "number")
    first, second = et.read_pools(many)
    later = [replace(c, answer=None, correct=None) for c in second]
    et.write_pools(many, [first, replace(second, candidates=tuple(later))])
    found = run("select", many, "--rule", "majority")
    assert (found.status, found.out) == (2, "")
    assert re.search(r"line \d: candidate 0 of problem .* has not been looked at", found.err)
    assert run("select", many, "--rule", "majority", "--answer", "text").status == 0
    assert run("select", many, "--rule", "random").status == 0


@pytest.mark.parametrize("command", [["select", "--rule", "majority"], ["grade"]], ids=str)
def test_scores_of_a_part_of_the_candidates_are_told(run, many, command):
    """What a `score` that was killed leaves behind."""
    assert run("score", many).status == 0
    lines = many.read_bytes().splitlines(keepends=True)
    many.write_bytes(b"".join(lines[:-2]))  # the last score, and the line of what was spent
    more = ["--answer", "number"] if command[0] == "grade" else command[1:]
    found = run(command[0], many, *more)
    total = sum(map(len, et.read_pools(many)))
    assert found.status == 0
    assert found.err == (
        f"edifice-tt: warning: only {total - 1} of {total} candidates have a score by 'logprob'; "
        "score the file again for the others\n"
    )
    assert run("score", many).status == 0
    assert run(command[0], many, *more).err == ""


def test_grade_marks_what_is_right_and_keeps_the_scores(run, many):
    run("score", many)
    before = list(et.read_pools(many))
    found = run("grade", many, "--answer", "number")
    assert (found.status, found.err) == (0, "")
    assert "1 of 3 candidates of 2 problems" in found.out
    assert "1 have no answer" in found.out
    first, second = et.read_pools(many)
    assert [(c.answer, c.correct) for c in first] == [("3", True), ("4", False)]
    assert [(c.answer, c.correct) for c in second] == [("", False)]
    assert [c.scores for pool in (first, second) for c in pool] == [
        c.scores for pool in before for c in pool
    ]
    assert b'"owner":"edifice-tt' in many.read_bytes()
    counts = run("grade", many, "--answer", "number", "--json").json
    assert counts == {
        "pool": str(many),
        "problems": 2,
        "candidates": 3,
        "right": 1,
        "without_answer": 1,
        "cut_off": 0,
        "cut_off_right": 0,
        "accuracy": 0.25,
        "low": 0.0,
        "high": pytest.approx(0.7432, abs=1e-4),
    }


def test_grading_without_a_gold_answer_names_the_line(run, pool_file):
    before = pool_file.read_bytes()
    found = run("grade", pool_file, "--answer", "number")
    check_mistake(found, f"{pool_file}, line 2", "problem '0' has no gold answer")
    check_mistake(run("grade", pool_file, "--answer", "numbr"), "no gold answer")
    assert pool_file.read_bytes() == before


def test_import_pool_reads_what_others_sampled(run, tmp_path):
    source, path = tmp_path / "source.jsonl", tmp_path / "pool"
    source.write_text(
        '{"problem": "p", "gold": "4", "candidates": [{"answer": "4", "correct": true,'
        ' "score": 0.5, "num_tokens": 7},'
        ' {"answer": "5", "correct": false, "score": 0.75, "num_tokens": 9}]}\n'
        '{"prompt": "q", "completions": ["so 3"], "answer": 3}\n'
    )
    given = ("import-pool", source, "--scorer", "prm", "--range", "probability", "-o", path)
    assert run(*given, "--json").json == {
        "pool": str(path),
        "problems": 2,
        "candidates": 3,
        "right": 1,
        "without_answer": 1,
        "cut_off": 0,
        "cut_off_right": 0,
        "accuracy": 0.5,  # of the problem that is marked
        "low": None,
        "high": None,
    }
    first, _ = et.read_pools(path)
    assert first.ranges == {"prm": "probability"}
    assert [(c.correct, c.num_tokens, c.scores["prm"]) for c in first] == [
        (True, 7, 0.5),
        (False, 9, 0.75),
    ]
    check_mistake(run(*given), str(path), "exists", "--force")
    assert run(*given, "--answer", "number", "--force", "--json").json["right"] == 2
    assert run("select", path, "--rule", "majority").status == 0


def test_import_pool_reads_what_export_wrote_and_fields_by_name(run, tmp_path, many):
    table, path = tmp_path / "table.csv", tmp_path / "again"
    run("export", many, "--csv", table)
    assert run("import-pool", "--dataset", table, "-o", path, "--json").json["candidates"] == 3
    check_mistake(run("import-pool", table, "--dataset", table, "-o", path), "not allowed with")
    check_mistake(run("import-pool", "-o", path), "one of the arguments source --dataset")
    source = tmp_path / "source.jsonl"
    source.write_text(
        '{"q": "2?", "said": ["2", "3"], "reward": [0.5, 1.5], "ok": [true, false]}\n'
    )
    given = ("import-pool", source, "-o", path, "--force", "--prompt-field", "q")
    given += ("--completions-field", "said", "--scores-field", "reward", "--correct-field", "ok")
    assert run(*given, "--json").json["right"] == 1
    check_mistake(run(*given, "--gold-field", "x"), "no field 'x'", "q, said", "--gold-field")


def test_merge_unites_files(run, tmp_path, many, pool_file):
    path = tmp_path / "merged"
    found = run("merge", many, many, "-o", path, "--json")
    assert found.json == {"pool": str(path), "problems": 2, "candidates": 3}
    assert list(et.read_pools(path)) == list(et.read_pools(many))
    found = run("merge", many, pool_file, "-o", path, "--force")
    check_mistake(found, f"{many}, line 1", f"{pool_file}, line 1", "model='big'", "'tiny'")
    assert list(et.read_pools(path)) == list(et.read_pools(many))


def test_what_cannot_be_imported_is_one_line_and_leaves_no_file(run, tmp_path):
    source, path = tmp_path / "source.jsonl", tmp_path / "pool"
    source.write_text('{"completions": ["a"]}\n{"completions": 5}\n')
    found = run("import-pool", source, "-o", path)
    check_mistake(found, f"{source}, line 2", "completions=5 must be a list")
    check_mistake(run("import-pool", tmp_path / "no", "-o", path), "No such file")
    check_mistake(
        run("import-pool", source, "-o", path, "--range", "logits"), "did you mean 'logit'"
    )
    assert sorted(tmp_path.iterdir()) == [source]


# --- best-of


def test_best_of_shows_the_answer_and_then_the_table(run, tiny_lm):
    found = run("best-of", "hello", *FEW, "--raw")
    assert (found.status, found.err) == (0, "")
    pool = et.score(tiny_lm, et.generate(tiny_lm, "hello", n=4, max_tokens=6))
    choice = et.select(pool)
    assert found.out.startswith(choice.text + "\n")
    table = found.out.removeprefix(choice.text)
    assert "logprob" in table
    for candidate in pool:
        assert f"{candidate.scores['logprob']:.4f}" in table
    (chosen,) = (line for line in table.split("\n") if line.startswith(">"))
    assert chosen.split()[1] == str(choice.index)


def test_best_of_as_json_has_the_choice_and_the_pool(run, tiny_lm, tmp_path):
    path = tmp_path / "pool"
    found = run("best-of", "hello", *FEW, "--raw", "--json", "-o", path)
    assert (found.status, found.err) == (0, "")
    pool = et.score(tiny_lm, et.generate(tiny_lm, "hello", n=4, max_tokens=6))
    assert found.json["choice"] == et.select(pool).to_dict()
    assert timeless(found.json["pool"]) == timeless(json.loads(json.dumps(pool.to_dict())))
    assert et.Pool.load(path) == pool


def test_best_of_one_greedy_answer(run):
    found = run(
        "best-of", "hello", "--model", "tiny", "-n", 1, "--temperature", 0, "--max-tokens", 6
    )
    assert (found.status, found.err) == (0, "")


@pytest.mark.slow
def test_best_of_by_a_head_and_by_majority(run):
    found = run("best-of", "hello", *FEW, "--scorer", "linear", "--json")
    assert found.json["choice"]["rule"] == "best_of_n"
    scores = [c["scores"]["linear"] for c in found.json["pool"]["candidates"]]
    assert found.json["choice"]["index"] == scores.index(max(scores))
    vote = ["--rule", "majority", "--cut-off", "vote", "--json"]
    assert run("best-of", "hello", *FEW, "--raw", *vote).json["choice"]["rule"] == "majority"


def test_best_of_whose_answers_were_all_cut_off_says_what_to_do(run):
    found = run("best-of", "hello", *FEW, "--raw", "--rule", "majority")
    assert found.status == 2
    assert "the 4 of 4 that have one were cut off" in found.err
    assert "--max-tokens" in found.err
    assert "--cut-off vote" in found.err
    assert found.out.splitlines()[-1].startswith("4 of 4 answers (100%) were cut off at 6 tokens; ")


@pytest.mark.slow
def test_best_of_by_majority_may_show_the_scores_of_a_scorer(run):
    given = ["--rule", "majority", "--cut-off", "vote", "--scorer", "linear", "--json"]
    found = run("best-of", "hello", *FEW, "--raw", *given)
    assert (found.status, found.err) == (0, "")
    assert found.json["choice"]["rule"] == "majority"
    assert list(found.json["pool"]["candidates"][0]["scores"]) == ["linear"]


def test_best_of_that_can_choose_none_still_shows_what_it_sampled(run):
    given = ["--rule", "majority", "--answer", "regex:no such thing"]
    found = run("best-of", "hello", *FEW, *given)
    assert found.status == 2
    assert found.err.count("\n") == 1
    assert "no candidate has an answer" in found.err
    assert len([line for line in found.out.splitlines() if "length" in line]) >= 4
    as_json = run("best-of", "hello", *FEW, *given, "--json")
    assert as_json.status == 2
    assert as_json.json["choice"] is None
    assert len(as_json.json["pool"]["candidates"]) == 4


def test_best_of_whose_scorer_fails_still_keeps_what_it_sampled(run, site: Site, tmp_path):
    site.install(
        "failing",
        "import edifice_tt\n\ndef score(prompt, completions):\n    raise RuntimeError('no key')\n\n"
        "@edifice_tt.hookimpl\ndef register_scorers(register):\n"
        "    register('failing', lambda: score, reads='text')\n",
    )
    path = tmp_path / "pool"
    found = run("best-of", "hello", *FEW, "--scorer", "failing", "--json", "-o", path)
    assert found.status == 2
    assert found.err.count("\n") == 1
    assert "scorer 'failing' of failing 1.0 failed: RuntimeError: no key" in found.err
    do = f"the candidates are kept; `edifice-tt score {path} --scorer failing` scores them"
    assert do in found.err
    assert len(found.json["pool"]["candidates"]) == len(et.Pool.load(path)) == 4


# --- mistakes


@pytest.mark.parametrize("command", ["generate", "best-of"])
@pytest.mark.parametrize(
    ("given", "words"),
    [
        ([""], ["the prompt is empty"]),
        ([" \n"], ["the prompt is empty"]),
        (["q", "-n", "many"], ["-n", "many"]),
        (["q", "-n", "1.5"], ["-n", "1.5"]),
        (["q", "--top-p", "x"], ["--top-p"]),
        (["q", "--colour"], ["--colour"]),
        (["q", "-o", "nowhere/at/all/pool"], ["nowhere/at/all"]),
    ],
    ids=str,
)
@pytest.mark.first(3)
def test_a_mistake_in_a_sampling_command_is_found_before_any_work(
    run, no_sampling, command, given, words
):
    check_mistake(run(command, *given), *words)


@pytest.mark.parametrize("command", ["generate", "best-of"])
@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["q", "-n", "0"], ["-n 0 must be a whole number, at least 1"]),
        (["q", "-n", "-2"], ["-n -2"]),
        (["q", "--max-tokens", "0"], ["--max-tokens 0"]),
        (["q", "--temperature", "0"], ["--temperature 0", "-n 1"]),
        (["q", "--temperature", "nan"], ["--temperature nan"]),
        (["q", "--top-p", "0"], ["--top-p 0"]),
        (["q", "--stop", ""], ["--stop"]),
        (["q" * 300], ["tokens", "context"]),
    ],
    ids=str,
)
@pytest.mark.first(3)
def test_a_setting_that_cannot_work_is_one_line(run, command, given, words):
    check_mistake(run(command, "--model", "tiny", *given), *words)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["--rule", "majorty"], ["'majorty'", "did you mean 'majority'"]),
        (["--scorer", "logprop"], ["'logprop'", "did you mean 'logprob'"]),
        (["--rule", "majority", "--answer", "regex:("], ["not a regular expression"]),
        (["--rule", "majority", "--answer", "numbr"], ["did you mean 'number'"]),
        (["--rule", "best_of_n", "--answer", "number"], ["'answer'", "majority", "weighted"]),
        (["--rule", "random", "--option", "seed"], ["NAME=VALUE"]),
        (["--rule", "random", "--option", "seed=x"], ["seed=x", "expects a whole number"]),
        (["--rule", "random", "--option", "sed=3"], ["'sed'", "did you mean 'seed'"]),
        (["--rule", "random", "--option", "seed=1", "--option", "seed=2"], ["given twice"]),
        (["--rule", "majority", "--option", "answer=text"], ["--answer text"]),
        (["--rule", "majority", "--option", "delta=1"], ["'delta'", "pessimistic"]),
        (["--rule", "oracle"], ["needs to know what is right", "edifice-tt generate --problems"]),
        (["--reduce", "mena"], ["did you mean 'mean'"]),
        (["--reduce", "mean"], ["'logprob' gives one score an answer"]),
        (["--rule", "weighted"], ["'logprob' declares range='unbounded'; use rule best_of_n"]),
    ],
    ids=str,
)
@pytest.mark.first(3)
def test_a_mistake_in_the_choosing_is_found_before_sampling(run, no_sampling, given, words):
    check_mistake(run("best-of", "q", *given), *words)


def test_a_scorer_that_the_model_lacks_is_found_before_sampling(run, monkeypatch):
    monkeypatch.setattr(et, "generate", lambda *a, **k: pytest.fail("sampled"), raising=False)
    check_mistake(run("best-of", "q", "--model", "tiny", "--scorer", "mlp"), "'mlp'", "'linear'")


def test_an_output_that_is_a_folder_is_found_before_sampling(run, no_sampling, tmp_path):
    check_mistake(run("best-of", "q", "-o", tmp_path), str(tmp_path))


def test_an_unknown_model_names_those_that_are_known(run):
    check_mistake(run("generate", "q", "--model", "smollm"), "'smollm'", "smollm2-135m")
    check_mistake(run("pull", "smollm"), "'smollm'", "smollm2-135m")


def test_an_unknown_device_lists_those_that_are_there(run):
    outcome = run("generate", "q", "--model", "smollm2-135m", "--device", "NOSUCH")
    check_mistake(outcome, "NOSUCH", "devices here")


def test_an_unknown_dtype_is_told_before_loading(run):
    found = run("generate", "q", "--model", "smollm2-135m", "--dtype", "float61")
    check_mistake(found, "unknown dtype 'float61'", "'float16'")


@pytest.mark.parametrize("command", [("generate", "q"), ("chat",), ("score", "p")], ids=str)
def test_an_unknown_dtype_of_keys_and_values_is_told_before_loading(run, pool_file, command):
    argv = [pool_file if word == "p" else word for word in command]
    model = ("--judge" if command[0] == "score" else "--model", "smollm2-135m")
    found = run(*argv, *model, "--kv-dtype", "float61")
    check_mistake(found, "--kv-dtype float61 must be 'float32', 'float16' or 'int8'")


def test_a_dtype_that_the_device_lacks_is_one_line_and_the_answers_come(run, tiny_lm, monkeypatch):
    def load(model, **options):
        warnings.warn("device 'CPU' has no float16", PrecisionWarning, stacklevel=2)
        return tiny_lm

    monkeypatch.setattr(et, "load_pretrained", load, raising=False)
    found = run("generate", "q", *FEW, "--dtype", "float16", "--json")
    assert found.status == 0
    assert len(found.json["candidates"]) == 4
    assert found.err.count("device 'CPU' has no float16\n") == 1


@pytest.mark.slow
def test_devices_that_share_the_candidates_change_none(run):
    one = run("generate", "q", *FEW, "--json")
    two = run("generate", "q", *FEW, "--json", "--devices", "CPU,CPU:1", "--batch-size", "1")
    assert [c["token_ids"] for c in one.json["candidates"]] == [
        c["token_ids"] for c in two.json["candidates"]
    ]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["--devices", "CPU,CPU"], ["name one twice"]),
        (["--devices", "CPU,NOSUCH"], ["NOSUCH", "devices here"]),
        (["--devices", "CPU,PYTHON"], ["'PYTHON' is of another kind than 'CPU'"]),
        (["--devices", "CPU:1,CPU", "--device", "CPU"], ["either --device or --devices"]),
        (["--batch-size", "0"], ["--batch-size 0"]),
    ],
)
def test_devices_that_cannot_share_are_told(run, given, words):
    check_mistake(run("generate", "q", *FEW, *given), *words)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["lst"], ["lst", "list"]),
        (["list", "extra"], ["extra"]),
        (["score"], ["pool"]),
        (["select"], ["pool"]),
        (["best-of"], ["prompt"]),
        (["grade", "pool"], ["--answer"]),
        (["import-pool", "source"], ["--output"]),
        (["merge", "-o", "pool"], ["pools"]),
        (["pull"], ["model"]),
    ],
    ids=str,
)
def test_a_command_that_is_none_is_one_line(run, given, words):
    check_mistake(run(*given), *words)


@pytest.mark.parametrize("command", [["score"], ["select"], ["grade", "--answer", "text"]], ids=str)
def test_a_pool_file_that_is_missing_or_foreign_is_one_line(run, tmp_path, command):
    missing, foreign, binary = tmp_path / "a b.jsonl", tmp_path / "text", tmp_path / "binary"
    foreign.write_text("hello\n")
    binary.write_bytes(bytes(range(256)))
    check_mistake(run(*command, missing), str(missing), "No such file")
    check_mistake(run(*command, foreign), f"{foreign}, line 1", "not a pool file")
    check_mistake(run(*command, binary), str(binary), "not a pool file")
    check_mistake(run(*command, tmp_path), str(tmp_path))
    assert not missing.exists()
    assert foreign.read_text() == "hello\n"


TORN = {
    "half a line in the middle": (b'{"kind":"candidate","problem"\n', "not JSON"),
    "a foreign kind": (b'{"kind":"vote"}\n', "kind='vote' must be one of"),
    "a second header": (b'{"kind":"pool","schema":2,"settings":{}}\n', "edifice-tt merge"),
    "an unknown problem": (
        b'{"kind":"score","problem":"x","index":0,"scorer":"s","score":1}\n',
        "problem 'x', which no line before declares",
    ),
    "no UTF-8": (b'{"kind":"\xff"}\n', "not UTF-8"),
    "a problem twice": (b'{"kind":"problem","problem":"0","prompt":"","gold":null}\n', "twice"),
    "a scorer that is none": (
        b'{"kind":"score","problem":"0","index":0,"scorer":"s","score":1}\n',
        "'s', which no line before declares",
    ),
}


@pytest.mark.parametrize("damage", TORN)
@pytest.mark.parametrize(
    "command", ["score", "select --rule majority", "grade --answer text", "merge -o merged"]
)
@pytest.mark.first(3)
def test_a_damaged_line_is_named_by_every_command(
    run, pool_file, tmp_path, monkeypatch, command, damage
):
    monkeypatch.chdir(tmp_path)
    line, words = TORN[damage]
    rows = pool_file.read_bytes().splitlines(keepends=True)
    torn = b"".join([*rows[:4], line, *rows[4:]])
    pool_file.write_bytes(torn)
    name, *options = command.split()
    check_mistake(run(name, pool_file, *options), f"{pool_file}, line 5: damaged", words)
    assert pool_file.read_bytes() == torn
    assert not (tmp_path / "merged").exists()


def test_what_a_pool_cannot_give_is_one_line(run, pool_file):
    before = pool_file.read_bytes()
    check_mistake(run("score", pool_file, "--scorer", "logprop"), "did you mean 'logprob'")
    check_mistake(run("score", pool_file, "--scorer", "linear"), "no model")
    check_mistake(run("select", pool_file), "score them first", "`edifice-tt score`")
    check_mistake(run("select", pool_file, "--answer", "number"), "'answer'", "majority")
    check_mistake(run("score", pool_file, "--reduce", "mean"), "'logprob' gives one score")
    oracle = run("select", pool_file, "--rule", "oracle")
    check_mistake(oracle, "correct=None", "`edifice-tt grade POOL --answer ...`")
    check_mistake(run("select", pool_file, "--scorer", "x"), "'x'")
    check_mistake(run("select", pool_file, "--rule", "majorty"), "did you mean 'majority'")
    check_mistake(run("select", pool_file, "--rule", "majority", "--answer", "regex:("), "regular")
    check_mistake(run("select", pool_file, "--rule", "majority", "--answer", "boxed"), "boxed")
    check_mistake(run("select", pool_file, "--rule", "majority", "--scorer", "x"), "scorer")
    assert pool_file.read_bytes() == before


# --- plugins on the command line


def test_a_broken_plugin_is_one_line_and_the_rest_works(run, site: Site):
    site.install("broken", "raise RuntimeError('no\\ngood')")
    for _ in range(2):  # in one process, too, each run says it
        found = run("list")
        assert found.status == 0
        assert "logprob" in found.out
        assert found.err.count("\n") == 1
        assert found.err.startswith("edifice-tt: warning: plugin 'broken' of broken 1.0 was left")
        assert "no good" in found.err


def test_a_plugin_adds_a_command(run, site: Site):
    site.install(
        "speaker",
        "import edifice_tt\n\n@edifice_tt.hookimpl\ndef register_commands(subparsers):\n"
        "    command = subparsers.add_parser('speak')\n"
        "    command.add_argument('word')\n"
        "    command.set_defaults(run=lambda arguments: print(arguments.word) or 3)\n",
    )
    found = run("speak", "hello")
    assert (found.status, found.out, found.err) == (3, "hello\n", "")


@pytest.mark.parametrize(
    "body", ["subparsers.add_parser('list')", "raise SystemExit(4)", "subparsers.nothing"]
)
def test_a_plugin_with_a_bad_command_is_left_out(run, site: Site, body):
    site.install(
        "rude",
        "import edifice_tt\n\n@edifice_tt.hookimpl\ndef register_commands(subparsers):\n"
        f"    {body}\n",
    )
    found = run("list")
    assert found.status == 0
    assert "logprob" in found.out
    assert found.err.count("\n") == 1
    assert "plugin 'rude' of rude 1.0 was left out: register_commands" in found.err


def test_a_command_of_a_plugin_that_cannot_be_run_is_one_line(run, site: Site):
    site.install(
        "idle",
        "import edifice_tt\n\n@edifice_tt.hookimpl\ndef register_commands(subparsers):\n"
        "    subparsers.add_parser('idle')\n",
    )
    check_mistake(run("idle"), "idle")


FAILING = """
import edifice_tt

def run(arguments):
    {body}

@edifice_tt.hookimpl
def register_commands(subparsers):
    subparsers.add_parser("speak").set_defaults(run=run)
"""


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("raise KeyError('word')", "KeyError: 'word'"),
        ("raise RuntimeError('one\\n two')", "RuntimeError: one two"),
        ("return 'done'", "TypeError: it returned 'done', expected an exit status or None"),
        ("return True", "TypeError: it returned True, expected an exit status or None"),
    ],
)
def test_a_command_of_a_plugin_that_fails_is_one_line_naming_the_plugin(
    run, site: Site, body, reason
):
    site.install("speaker", FAILING.format(body=body))
    found = run("speak")
    assert (found.status, found.out) == (1, "")
    place = "" if "returned" in reason else r" \(speaker\.py, line 5\)"
    failed = re.escape(f"edifice-tt: error: command 'speak' of speaker 1.0 failed: {reason}")
    trace = "; EDIFICE_TT_TRACE_PLUGINS=1 shows where\n"
    assert re.fullmatch(failed + place + trace, found.err)


def test_the_trace_shows_where_a_command_failed(run, site: Site, monkeypatch):
    site.install("speaker", FAILING.format(body="raise KeyError('word')"))
    monkeypatch.setenv("EDIFICE_TT_TRACE_PLUGINS", "1")
    found = run("speak")
    assert found.status == 1
    assert 'speaker.py", line 5, in run\n' in found.err
    assert "Traceback (most recent call last)" in found.err


def test_an_option_of_a_plugin_that_fails_is_one_line_naming_the_plugin(run, site: Site):
    site.install(
        "speaker",
        "import edifice_tt\n\ndef word(text):\n    raise RuntimeError('no dictionary')\n\n"
        "@edifice_tt.hookimpl\ndef register_commands(subparsers):\n"
        "    subparsers.add_parser('speak').add_argument('word', type=word)\n",
    )
    found = run("speak", "hello")
    assert found.status == 1
    assert (
        "command 'speak' of speaker 1.0 failed: RuntimeError: no dictionary (speaker.py, line 4); "
        in found.err
    )
    assert found.err.count("\n") == 1


def test_a_defect_of_our_own_is_not_hidden(run, monkeypatch):
    def defect(*arguments, **options):
        raise RuntimeError("our own mistake")

    monkeypatch.setattr(et, "generate", defect, raising=False)
    with pytest.raises(RuntimeError, match="our own mistake"):
        run("generate", "q", *FEW)


@pytest.mark.parametrize("said", ["Allocation of 2.00 GB failed on CL", ""])
def test_a_device_that_has_no_memory_left_is_one_line(run, monkeypatch, said):
    def refuse(*arguments, **options):
        raise MemoryError(said)

    monkeypatch.setattr(et, "generate", refuse, raising=False)
    check_mistake(run("best-of", "q", *FEW), said or "no memory is left", "a smaller model")


# --- interruption, progress, pipes


def test_ctrl_c_is_one_line_and_exit_status_130(run, monkeypatch):
    def interrupt(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(et, "generate", interrupt, raising=False)
    found = run("best-of", "q", *FEW)
    assert (found.status, found.out) == (130, "")
    assert found.err == "edifice-tt: interrupted\n"


def test_ctrl_c_with_some_candidates_finished_chooses_among_them(run, monkeypatch, tiny_lm):
    generate = et.generate

    def interrupted(*arguments, **options):
        pool = generate(*arguments, **options)
        return replace(pool, candidates=pool.candidates[1:3], interrupted=True)

    monkeypatch.setattr(et, "generate", interrupted, raising=False)
    found = run("best-of", "q", *FEW, "--json")
    assert found.status == 130
    assert found.err == "edifice-tt: interrupted; 2 candidates are finished\n"
    assert found.json["choice"]["index"] in (1, 2)
    assert found.json["pool"]["interrupted"] is True
    found = run("generate", "q", *FEW, "--json")
    assert (found.status, len(found.json["candidates"])) == (130, 2)


@pytest.mark.parametrize("command", ["generate", "best-of"])
def test_progress_is_shown_to_a_person_and_not_to_a_file(run, request, command):
    silent = run(command, "q", *FEW, "--json")
    assert silent.err == ""
    request.getfixturevalue("terminal")
    shown = run(command, "q", *FEW, "--json")
    assert "4/4 finished" in shown.err
    shown_pool, silent_pool = (x.json.get("pool", x.json) for x in (shown, silent))
    assert timeless(shown_pool) == timeless(silent_pool)


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.first(3)
def test_the_help_of_a_command_explains_each_option(run, command):
    found = run(command, "--help")
    assert (found.status, found.err) == (0, "")
    parser = cli.make_parser()
    (commands,) = (a for a in parser._actions if a.dest == "command" or a.metavar == "COMMAND")
    for action in commands.choices[command]._actions:
        assert action.help, action
        for option in action.option_strings or [action.dest]:
            assert option in found.out
    assert "--json" in found.out
    assert command in run("--help").out


def test_the_help_groups_the_commands_and_names_who_brings_others(run, site: Site):
    site.install(
        "speaker",
        "import edifice_tt\n\n@edifice_tt.hookimpl\ndef register_commands(subparsers):\n"
        "    subparsers.add_parser('speak', help='say it')\n",
    )
    shown = run("--help").out
    sections = dict(section.split(":\n", 1) for section in shown.split("\n\n")[2:-1])
    listed = {h: [line.split()[0] for line in s.splitlines()] for h, s in sections.items()}
    assert list(sections)[-2:] == ["from speaker 1.0", "options"]
    assert listed["from speaker 1.0"] == ["speak"]
    assert listed["sample answers"] == ["best-of", "generate", "search", "chat"]
    assert listed["what is here"] == ["list", "plugins", "doctor", "models", "pull"]
    assert {"score", "select", "merge"} <= set(listed["pool files"])


def test_the_version_is_printed(run):
    assert run("--version").out == f"edifice-tt {et.__version__}\n"


def test_the_commands_are_those_that_are_tested_here():
    parser = cli.make_parser()
    (commands,) = (a for a in parser._actions if a.metavar == "COMMAND")
    assert set(COMMANDS) <= set(commands.choices)


# --- in a process of its own


def python(*arguments, **options):
    """Run Python with the library of this checkout and built-ins only."""
    root = str(Path(et.__file__).parents[1])
    path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH", "")]))
    own = {"EDIFICE_TT_PLUGINS": "", "PYTHONPATH": path, "PYTHONUNBUFFERED": ""}
    environment = {**os.environ, **own}
    return subprocess.run(
        [sys.executable, *arguments], env=environment, capture_output=True, text=True, **options
    )


def test_python_m_edifice_tt_is_the_command():
    found = python("-m", "edifice_tt", "list", "--json", check=True)
    assert found.stderr == ""
    names = [record["name"] for record in json.loads(found.stdout)["selectors"]]
    assert {"best_of_n", "majority", "weighted"} <= set(names)
    wrong = python("-m", "edifice_tt", "select", "no-such-file")
    assert wrong.returncode == 2
    assert wrong.stderr.count("\n") == 1
    assert "Traceback" not in wrong.stderr


def test_listing_needs_no_tensor_library():
    code = (
        "import sys; from edifice_tt.cli import main; status = main(['list']);"
        "assert 'tinygrad' not in sys.modules and 'numpy' not in sys.modules, 'imported';"
        "sys.exit(status)"
    )
    found = python("-c", code)
    assert (found.returncode, found.stderr) == (0, "")


def test_a_reader_that_leaves_early_causes_no_complaint():
    code = (
        "import os, sys; from edifice_tt.cli import main\n"
        "reader, writer = os.pipe(); os.dup2(writer, 1); os.close(reader); os.close(writer)\n"
        "sys.exit(main(['list']))"
    )
    found = python("-c", code)
    assert (found.returncode, found.stderr) == (0, "")


INTERRUPTED_IMPORT = """
import sys
class Interrupt:
    def find_spec(self, name, path, target=None):
        if name == {module!r}:
            raise KeyboardInterrupt
sys.meta_path.insert(0, Interrupt())
from edifice_tt.cli import main
sys.exit(main(["list"]))
"""


@pytest.mark.parametrize(
    "module", ["edifice_tt.cli.terminal", "edifice_tt.contract.registry", "pluggy"]
)
def test_ctrl_c_during_the_imports_is_one_line(module):
    found = python("-c", INTERRUPTED_IMPORT.format(module=module))
    assert (found.returncode, found.stderr) == (130, "edifice-tt: interrupted\n")


def test_ctrl_c_where_python_can_only_report_it_is_not_lost():
    """Such a place is a `__del__`, or the lock of an import."""
    code = """
import sys, time
from edifice_tt import cli
class Interrupted:
    def __del__(self):
        raise KeyboardInterrupt
def run(argv):
    Interrupted()
    time.sleep(60)
cli._run = run
sys.exit(cli.main([]))
"""
    found = python("-c", code)
    assert (found.returncode, found.stderr) == (130, "edifice-tt: interrupted\n")


@pytest.mark.skipif(os.name != "posix", reason="closes streams as a shell does")
@pytest.mark.parametrize(
    ("shell", "status", "out", "err"),
    [
        ("list >&-", 2, "", "edifice-tt: error: standard output is closed; use > /dev/null\n"),
        ("lst 2>&-", 2, "", ""),
        ("list --json 2>&- | head -c 1", 0, "{", ""),
        (
            "generate - <&-",
            2,
            "",
            "edifice-tt: error: the prompt is empty; give a question, for example "
            '"What is gravity?"\n',
        ),
    ],
)
@pytest.mark.first(3)
def test_a_closed_stream_is_no_traceback(shell, status, out, err):
    code = "import os, sys; os.execvp('sh', ['sh', '-c', sys.argv[1]])"
    found = python("-c", code, f'"{sys.executable}" -m edifice_tt {shell}')
    assert (found.returncode, found.stdout, found.stderr) == (status, out, err)


# --- what a chat template and a stop string are given


@pytest.mark.parametrize(
    ("text", "stop"),
    [
        (r"\n", "\n"),
        (r"\n\nQ:", "\n\nQ:"),
        (r"\r\n", "\r\n"),
        (r"a\t", "a\t"),
        (r"\neq", r"\neq"),
        (r"\boxed", r"\boxed"),
        ("\n", "\n"),
    ],
)
def test_a_stop_string_may_be_a_line_end_in_two_letters(run, text, stop):
    found = run("generate", "hi", *FEW, "--raw", "--stop", text, "--json")
    assert found.json["settings"]["stop"] == [stop]


@pytest.fixture
def moody(tiny_lm, monkeypatch):
    """The tiny model's template reads `mood`."""
    template = "{{ messages[-1].content }} {{ mood | tojson }} {{ more }}"
    tokenizer = replace(tiny_lm.tokenizer, chat_template=template)
    monkeypatch.setattr(tiny_lm, "tokenizer", tokenizer)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("false", "false"),
        ("7", "7"),
        ('["a"]', '["a"]'),
        ("26 Jul 2024", '"26 Jul 2024"'),
        ("NaN", '"NaN"'),
        ("a=b", '"a=b"'),
        ("", '""'),
    ],
)
def test_a_template_option_is_json_or_else_text(run, moody, given, told):
    found = run("generate", "hi", *FEW, "--json", "--template-option", f"mood={given}")
    assert found.json["prompt"] == f"hi {told} "
    assert json.dumps(found.json["settings"]["template_options"]["mood"]) == told


def test_every_command_that_samples_takes_template_options(run, moody, tmp_path):
    options = ["--template-option", "mood=1", "--template-option", "more=x"]
    best = run("best-of", "hi", *FEW, *options, "--json")
    assert best.json["pool"]["prompt"] == "hi 1 x"
    assert run("generate", "hi", *FEW, *options, "-o", tmp_path / "pool").status == 0
    pool = et.Pool.load(tmp_path / "pool")
    assert (pool.prompt, pool.settings["template_options"]) == ("hi 1 x", {"mood": 1, "more": "x"})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--template-option", "mood"], "--template-option mood: expected NAME=VALUE"),
        (["--template-option", "=1"], "--template-option =1: expected NAME=VALUE"),
        (["--template-option", "mood=1", "--template-option", "mood=2"], "mood is given twice"),
        (["--template-option", "moood=1"], "does not read the option 'moood'"),
        (["--template-option", "messages=1"], "'messages' cannot be set"),
        (["--raw", "--template-option", "mood=1"], "--template-option is for a chat template"),
        (["--raw", "--system", "Be brief."], "--system is for a chat template"),
    ],
)
def test_a_template_option_that_cannot_work_is_a_mistake(run, moody, options, message):
    check_mistake(run("generate", "hi", *FEW, *options), message)


@pytest.mark.parametrize(
    "argv",
    [
        ("best-of", "hi", "--stop", "a\udcff"),
        ("best-of", "hi", "--system", "a\udcff"),
        ("best-of", "hi", "--rule", "majority", "--answer", "regex:a\udcff"),
        ("best-of", "hi", "--template-option", "x=a\udcff"),
        ("generate", "--task", "a\udcff", "-o", "pool.jsonl"),
        ("tasks", "a\udcff"),
        ("best-of", "a\udcff"),
    ],
)
def test_a_text_that_is_no_utf8_is_one_clear_error(run, argv):
    done = run(*argv)
    assert (done.status, done.out) == (2, "")
    assert "is no UTF-8 text; convert it" in done.err
    assert done.err.strip().count("\n") == 0


def test_a_file_whose_name_is_no_utf8_is_written_and_read(run, tmp_path):
    pool = tmp_path / "a\udcff.jsonl"
    done = run("generate", "hi", *FEW, "-o", pool)
    assert done.status == 0, done.err
    assert run("score", pool, "--model", "tiny").status == 0
    assert run("select", pool).status == 0
