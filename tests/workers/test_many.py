"""Many problems from Python: what workers give is what one process gives."""

import pytest
from fake_plugins import open_site

import edifice_tt as et
from edifice_tt.workers import sampling

site = pytest.fixture(open_site, name="site")

PROBLEMS = [et.Problem("ask " * i + "k", f"p{i}", "k") for i in range(3)]
SAMPLED = {"max_tokens": 5, "temperature": 3.0, "seed": 5}
HERE = {"executor": "here"}
PLUGIN = """
import edifice_tt, trials

class Here(trials.Here):
    def __init__(self, workers=None, cores=None, address="", gpus=0):
        print(workers, cores, address, gpus)

@edifice_tt.hookimpl
def register_executors(register):
    register("here", Here)
"""


@pytest.fixture(autouse=True)
def _here(site, monkeypatch):
    site.install("here", PLUGIN)
    monkeypatch.setenv("EDIFICE_TT_PLUGINS", "here")


def contents(path):
    """What is in a file but for order and seconds."""
    return {
        pool.problem: (pool.candidates, (pool.search or {}).get("row"))
        for pool in et.read_pools(path)
    }


@pytest.fixture
def pool(tiny_lm, tmp_path):
    et.generate_pools(tiny_lm, PROBLEMS, tmp_path / "alone", n=2, **SAMPLED)
    return tmp_path / "alone"


def test_workers_make_the_same_candidates_and_progress_counts_them(tiny_lm, tmp_path, pool):
    told = []
    made = et.generate_pools(
        tiny_lm, PROBLEMS, tmp_path / "shared", n=2, progress=told.append, **HERE, **SAMPLED
    )
    assert made == 6
    assert contents(tmp_path / "shared") == contents(pool)
    assert [one.done for one in told] == [0, 1, 2, 3, 4, 5, 6]
    assert told[-1].tokens == sum(one.num_tokens for found in et.read_pools(pool) for one in found)


@pytest.mark.slow
def test_workers_search_the_same_rows_with_a_judge_too(tiny_lm, tmp_path):
    judge = et.load_reward(tiny_lm, kind="yes_no", prompt="{question}{answer}", labels=("Y", "N"))
    how = {"settings": {"n": 2}, "answer": "text", **SAMPLED}
    for method, scorer in (("adaptive", None), ("rejection", judge)):
        alone, shared = tmp_path / f"{method}-alone", tmp_path / f"{method}-shared"
        assert et.search_pools(tiny_lm, PROBLEMS, alone, method, scorer, **how) == 3
        assert et.search_pools(tiny_lm, PROBLEMS, shared, method, scorer, **how, **HERE) == 3
        assert contents(shared) == contents(alone)
        one = et.search(tiny_lm, PROBLEMS[1].prompt, method, scorer, problem="p1", gold="k", **how)
        assert contents(alone)["p1"] == (one.candidates, one.search["row"])
        assert et.search_pools(tiny_lm, PROBLEMS, shared, method, scorer, resume=True, **how) == 0


def length(prompt, completions):
    return [float(len(text)) for text in completions]


@pytest.mark.parametrize("scorer", ["logprob", "linear", length])
@pytest.mark.first(1)
def test_workers_give_the_same_scores(tiny_lm, pool, scorer):
    pools = [*et.read_pools(pool)]
    pools.append(pools[0])  # two of one name
    alone = [*et.score_pools(tiny_lm, pools, scorer)]
    assert [*et.score_pools(tiny_lm, iter(pools), scorer, **HERE)] == alone


def test_what_says_who_works_goes_to_the_executor(tiny_lm, pool, capsys):
    how = {"workers": 3, "cores_per_worker": 5, "gpus_per_worker": 7, "address": "there"}
    assert len([*et.score_pools(None, et.read_pools(pool), **HERE, **how)]) == 3
    assert capsys.readouterr().out == "3 5 there 7\n"


@pytest.mark.slow
def test_problems_that_failed_are_told_at_the_end_and_resumed(tiny_lm, tmp_path, pool, monkeypatch):
    def full(lm, problem, *rest):
        if problem.problem == "p1":
            raise OSError(28, "No space left on device")
        return whole(lm, problem, *rest)

    whole, path = sampling.sample, tmp_path / "shared"
    monkeypatch.setattr(sampling, "sample", full)
    lacks = (
        r"^1 of 3 problems lack candidates; resume=True goes on with them: p1: OSError: .*No space"
    )
    with pytest.raises(et.EdificeError, match=lacks):
        et.generate_pools(tiny_lm, PROBLEMS, path, n=2, **HERE, **SAMPLED)
    assert contents(path).keys() == {"p0", "p2"}
    monkeypatch.setattr(sampling, "sample", whole)
    assert et.generate_pools(tiny_lm, PROBLEMS, path, n=2, resume=True, **HERE, **SAMPLED) == 2
    assert contents(path) == contents(pool)


def fails_on_two(prompt, completions):
    if prompt.startswith("ask ask"):
        raise ValueError("too long")
    return [0.0 for _ in completions]


def test_pools_without_a_score_are_told_when_all_others_are_there(pool):
    scored = et.score_pools(None, et.read_pools(pool), fails_on_two, **HERE)
    assert [next(scored).problem, next(scored).problem] == ["p0", "p1"]
    with pytest.raises(et.EdificeError, match=r"1 of 3 problems have no score: p2: .*too long"):
        next(scored)


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"cores_per_worker": 2}, "cores_per_worker=2 is for several workers; say how many"),
        ({"address": "x"}, "address='x' is for several workers"),
        ({"workers": 0}, "workers=0 must be"),
        ({"workers": 2, "address": "x"}, "address='x' is nothing that 'processes' takes"),
        ({"executor": "processes"}, r"how many processes are to work: workers=2 .--workers 2"),
        ({"workers": 2, "cores_per_worker": 0}, "cores_per_worker=0 must be a whole number"),
        ({"executor": "ray"}, "of the plugin edifice-tt-ray, which is not loaded; install it"),
        ({"wrokers": 2}, "unknown option of generate_pools 'wrokers'; did you mean 'workers'"),
        ({"executor": "proceses"}, "unknown executor 'proceses'; did you mean 'processes'"),
        ({"workers": 2, "devices": ["CPU"]}, r"devices=.* is for one process; for workers give c"),
        ({"workers": 2, "on_token": print}, "workers give whole candidates; leave out on_token"),
    ],
)
def test_a_mistake_makes_no_file(tiny_lm, tmp_path, how, message):
    with pytest.raises((ValueError, et.EdificeError), match=message):
        et.generate_pools(tiny_lm, PROBLEMS, tmp_path / "pool", **how)
    assert not (tmp_path / "pool").exists()


def test_a_mistake_in_scoring_costs_no_worker(tiny_lm, pool):
    pools = [*et.read_pools(pool)]
    for lm, scorer, message in (
        (None, "linear", "scorer 'linear' reads hidden states"),
        (tiny_lm, "linaer", "did you mean 'linear'"),
    ):
        with pytest.raises(et.EdificeError, match=message):
            et.score_pools(lm, pools, scorer, workers=2)
    with pytest.raises(et.EdificeError, match="unknown option of score_pools 'wrokers'"):
        et.score_pools(tiny_lm, pools, "linear", wrokers=2)
    with pytest.raises(ValueError, match="concurrency=2 is for a scorer that reads text"):
        et.score_pools(tiny_lm, pools, "linear", concurrency=2, workers=2)


def test_a_search_names_its_rows_in_its_settings(tiny_lm, tmp_path):
    with pytest.raises(ValueError, match=r"settings={'n': 5}"):
        et.search_pools(tiny_lm, PROBLEMS, tmp_path / "pool", n=5)


@pytest.mark.slow
def test_processes_make_the_same_candidates(tiny_lm, tmp_path, pool):
    et.save(tiny_lm, tmp_path / "tiny.safetensors")
    lm = et.load_pretrained(tmp_path / "tiny.safetensors")
    et.generate_pools(lm, PROBLEMS, tmp_path / "shared", n=2, workers=2, **SAMPLED)
    assert contents(tmp_path / "shared") == contents(pool)
