"""How far a call is: told to a function, a bar in a notebook, a line elsewhere."""

import sys
from types import ModuleType, SimpleNamespace

import pytest

import edifice_tt as et
from edifice_tt.machine import meter
from edifice_tt.machine.progress import each, showing


def told(call):
    """What a call tells a function."""
    seen = []
    call(seen.append)
    return [(one.what, one.done, one.total) for one in seen]


def test_sampling_counts_candidates_and_tokens(tiny_lm):
    seen = []
    pool = et.generate(tiny_lm, "abc", n=3, max_tokens=5, progress=seen.append)
    assert (seen[0].done, seen[-1].done, seen[-1].total) == (0, 3, 3)
    assert seen[-1].tokens == sum(candidate.num_tokens for candidate in pool)


def test_sampling_still_calls_on_token(tiny_lm):
    tokens = []
    et.generate(tiny_lm, "abc", n=2, max_tokens=3, on_token=tokens.append, progress=lambda _: None)
    assert tokens


def test_many_problems_count_what_was_missing(tiny_lm, tmp_path):
    problems = [et.Problem("abc", "a"), et.Problem("abd", "b")]
    path, seen = tmp_path / "pool.jsonl", []
    et.generate_pools(tiny_lm, problems[:1], path, n=3, max_tokens=2)
    et.generate_pools(tiny_lm, problems, path, n=3, max_tokens=2, resume=True, progress=seen.append)
    assert (seen[0].done, seen[-1].done, seen[-1].total) == (0, 3, 3)


def test_scoring_counts_candidates_and_many_pools_count_problems(tiny_lm, edifice_pool):
    def head(tell):
        et.score(tiny_lm, edifice_pool, "linear", progress=tell)

    assert told(head) == [("candidates scored", done, 6) for done in (0, 6)]

    def pools(tell):
        list(et.score_pools(None, [edifice_pool] * 2, progress=tell))

    assert told(pools) == [("problems scored", done, 2) for done in (0, 1, 2)]

    def stream(tell):
        list(et.score_pools(None, iter([edifice_pool]), progress=tell))

    assert told(stream) == [("problems scored", done, None) for done in (0, 1)]


def marked(count):
    """Graded pools of four candidates."""
    for i in range(count):
        four = (et.Candidate(k, "7", answer="7", correct=True, num_tokens=5) for k in range(4))
        yield et.Pool("3 + 4 =", tuple(four), problem=str(i))


def test_a_curve_counts_problems_and_rules_and_a_replay_problems():
    rules = ["majority", "oracle"]
    read = [("problems read", done, 2) for done in range(3)]
    measured = [("rules measured", done, 2) for done in range(3)]
    how = {"rules": rules, "bootstrap": 5}
    pools = list(marked(2))
    assert told(lambda tell: et.scaling_curve(pools, progress=tell, **how)) == read + measured
    stream = told(lambda tell: et.scaling_curve(marked(2), progress=tell, **how))
    assert stream[:3] == [(what, done, None) for what, done, _ in read]
    replayed = told(lambda tell: et.replay(marked(2), progress=tell, bootstrap=5))
    assert replayed == [("problems replayed", done, 2) for done in range(3)]


def test_a_search_counts_the_tokens_of_its_budget(tiny_lm):
    seen, tokens, how = [], [], {"settings": {"k": 2}, "max_tokens": 5, "budget": 8}
    pool = et.search(
        tiny_lm, "abc", "first", answer="text", progress=seen.append, on_token=tokens.append, **how
    )
    assert (seen[0].what, seen[0].done, seen[0].total) == ("tokens drawn", 0, 8)
    assert seen[-1].done == seen[-1].tokens == len(tokens) == pool.search["spent"]


def test_a_function_that_fails_ends_the_call(tiny_lm):
    def stop(progress):
        raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough"):
        et.generate(tiny_lm, "abc", n=1, max_tokens=2, progress=stop)


def test_what_is_no_function_is_refused(tiny_lm):
    with pytest.raises(ValueError, match="progress='yes' must be True, False or a function"):
        et.generate(tiny_lm, "abc", n=1, max_tokens=2, progress="yes")


def test_true_is_a_line_on_standard_error(monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    assert list(each(True, [4, 5, 6], 3, "reading")) == [4, 5, 6]
    assert capsys.readouterr().err.endswith("3/3 reading\n")


def test_a_total_that_nobody_knows_is_not_told(monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    list(each(True, range(5), None, "epochs"))
    line = capsys.readouterr().err.split("\x1b[K")[-1]
    assert line == "5 epochs\n"
    assert meter.Meter(None, "epochs").line() == "0 epochs"


def test_false_is_silent(monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    assert list(each(False, [4], 1, "reading")) == [4]
    assert capsys.readouterr().err == ""


class Bar:
    """A bar as tqdm has it."""

    made = ()

    def __init__(self, total, desc):
        self.total, self.desc, self.done = total, desc, 0
        Bar.made = (*Bar.made, self)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.closed = True

    def update(self, done):
        self.done += done


@pytest.fixture
def notebook(monkeypatch):
    """A kernel, as IPython tells of it."""
    shell = SimpleNamespace(kernel=object())
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    monkeypatch.setattr(Bar, "made", ())


def test_a_notebook_has_a_bar(notebook, monkeypatch):
    auto = ModuleType("tqdm.auto")
    auto.tqdm = Bar
    monkeypatch.setitem(sys.modules, "tqdm", ModuleType("tqdm"))
    monkeypatch.setitem(sys.modules, "tqdm.auto", auto)
    with showing(True, 7, "candidates") as add:
        add(0, 1)
        add(3, 1)
    (bar,) = Bar.made
    assert (bar.total, bar.desc, bar.done, bar.closed) == (7, "candidates", 3, True)


def test_a_notebook_without_the_extra_has_a_line(notebook, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "tqdm.auto", None)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    assert list(each(True, [4], 1, "reading")) == [4]
    assert capsys.readouterr().err.endswith("1/1 reading\n")
