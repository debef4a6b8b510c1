"""Searches over rows that a small model writes: what they draw, what they cost, how they go on."""

import inspect
import pydoc
import subprocess
import sys
import warnings
from dataclasses import replace
from types import ModuleType

import numpy as np
import pytest

import edifice_tt as et
from edifice_tt.contract.options import problem_seed
from edifice_tt.live.rows import LiveRows
from edifice_tt.sampling.draws import Sampler
from edifice_tt.search.books import Books

# What these say is held below.
pytestmark = [
    pytest.mark.filterwarnings("ignore:interrupted.*:edifice_tt.PoolWarning"),
    pytest.mark.filterwarnings("ignore:search '.*' compared whole:edifice_tt.PoolWarning"),
]
PROMPT = "thequick"
SAMPLING = {"seed": 5, "max_tokens": 23, "stop": ["!", 201], "problem": "p"}
SAMPLING["temperature"] = 3.0
STEPS = {"n": 8, "step_tokens": 5, "delimiter": None}
SEARCHES = {
    "adaptive": ({"n": 7, "wave": 3}, None),
    "doubling": ({"n": 7}, None),
    "confidence": ({"n": 7, "warmup": 3, "window": 4, "wave": 2, "keep_percent": 50}, None),
    "rejection": ({"n": 7, "cuts": (4, 9)}, "linear"),
    "particles": (STEPS, "sure"),
    "rebase": (STEPS, "linear"),
    "beam": (STEPS, "logprob"),
    "dvts": (STEPS, "linear"),
}


def sure(prompt, completions):
    """A probability that the text decides."""
    return [(7 * sum(map(ord, text)) % 101) / 101 for text in completions]


def search(lm, name, **options):
    settings, scorer = SEARCHES[name]
    scorer = sure if scorer == "sure" else scorer
    return et.search(lm, PROMPT, name, scorer, settings=settings, **{**SAMPLING, **options})


TIMES = ("seconds", "judge_seconds")


def timeless(pool, *besides):
    """A pool without what no two runs share."""
    left_out = {*TIMES, *besides}
    return replace(pool, search={k: v for k, v in pool.search.items() if k not in left_out})


@pytest.mark.parametrize("name", SEARCHES)
@pytest.mark.first(3)
def test_a_candidate_is_what_its_tokens_alone_would_give(tiny_lm, name):
    """To the last bit: each draw is that of its logits, the row's number and the place."""
    sampler = Sampler(3.0, seed=problem_seed(5, "p"))
    prompt, pool = tiny_lm.tokenizer.encode(PROMPT), search(tiny_lm, name)
    by_index = {candidate.index: candidate for candidate in pool}
    texts = np.zeros((64, 37), np.int32)
    for one in pool:
        texts[one.index, : len(prompt) + one.num_tokens] = [*prompt, *one.token_ids]
    behind = tiny_lm(texts).logits.numpy()[:, len(prompt) - 1 :]
    for one in pool:
        logits, row = behind[one.index], one
        for place in range(len(one.token_ids) - 1, -1, -1):
            while place < row.begun:
                row = by_index[row.parent]
            drawn = sampler.draw(logits[place], row.index, place)
            assert drawn == (one.token_ids[place], one.token_logprobs[place])


@pytest.mark.parametrize("name", ["adaptive", "doubling", "rejection", "confidence"])
def test_rows_that_run_to_their_ends_are_the_candidates_of_generate(tiny_lm, name):
    plain = et.generate(tiny_lm, PROMPT, n=7, **SAMPLING)
    for one in search(tiny_lm, name):
        expected = plain.candidates[one.index]
        length = one.num_tokens
        assert one.token_ids == expected.token_ids[:length]
        assert one.token_logprobs == expected.token_logprobs[:length]
        if one.is_whole:
            assert (one.text, one.finish_reason) == (expected.text, expected.finish_reason)


@pytest.mark.slow
@pytest.mark.parametrize("name", SEARCHES)
def test_a_search_is_repeated_whatever_shares_it(tiny_lm, name):
    expected = timeless(search(tiny_lm, name))
    for sharing in ({}, {"devices": ["CPU", "CPU:1"]}, {"batch_size": 3}):
        assert timeless(search(tiny_lm, name, **sharing)) == expected


@pytest.mark.parametrize("name", SEARCHES)
@pytest.mark.first(3)
def test_the_books_count_each_token_of_the_tree_once(tiny_lm, name):
    pool = search(tiny_lm, name)
    lines = [*pool]
    assert [one.index for one in lines] == [*range(len(lines))]
    books = Books(
        parents=tuple(one.parent for one in lines),
        begun=tuple(one.begun for one in lines),
        lengths=tuple(one.num_tokens for one in lines),
    )
    assert pool.search["spent"] == books.tokens
    assert pool.search["kept_tokens"] == books.kept_tokens(pool.search["kept"])
    reads_states = SEARCHES[name][1] == "linear"
    unread = 0 if reads_states else sum(one.finish_reason in ("stop", "length") for one in lines)
    assert pool.search["computed"] == books.tokens - unread
    assert (pool.search["again"], pool.search["padding"]) == (0, 0)
    for one in lines:
        if one.parent is not None:
            assert one.token_ids[: one.begun] == lines[one.parent].token_ids


@pytest.mark.slow
@pytest.mark.parametrize("name", ["rejection", "rebase", "dvts"])
def test_a_head_reads_the_states_of_the_step_as_it_reads_a_finished_pool(tiny_lm, name):
    pool = search(tiny_lm, name)
    again = et.score(tiny_lm, replace(pool, search=None), "linear")
    assert [one.scores for one in pool] == [one.scores for one in again]
    chosen = max(pool.search["kept"], key=lambda i: (pool.candidates[i].scores["linear"], -i))
    assert chosen == pool.search["row"]


@pytest.mark.parametrize("name", ["rejection", "rebase"])
@pytest.mark.slow
def test_each_score_of_a_row_is_kept_with_the_place_where_it_was_given(tiny_lm, name):
    pool = search(tiny_lm, name)
    by_index = {str(one.index): one for one in pool}
    assert pool.search["scored"].keys() <= by_index.keys()
    for index, places in pool.search["scored"].items():
        row = by_index[index]
        cut = [replace(row, token_ids=row.token_ids[:tokens]) for tokens, _ in places]
        asked = replace(pool, candidates=(*cut,), search=None)
        scores = [one.scores["linear"] for one in et.score(tiny_lm, asked, "linear")]
        assert scores == [score for _, score in places]
        assert places[-1] == [row.num_tokens, row.scores["linear"]]
        assert all(tokens > row.begun for tokens, _ in places)


def test_a_search_that_reads_no_scores_keeps_none(tiny_lm):
    assert "scored" not in search(tiny_lm, "adaptive").search


@pytest.mark.parametrize("budget", [1, 7, 40, 61, 100])
@pytest.mark.parametrize("name", ["adaptive", "rejection", "rebase"])
@pytest.mark.first(3)
def test_a_budget_is_never_exceeded(tiny_lm, name, budget):
    whole, pool = search(tiny_lm, name), search(tiny_lm, name, budget=budget)
    assert pool.search["spent"] == min(budget, whole.search["spent"])
    assert pool.search["again"] == 0  # rows that wait for their part are not forgotten
    if budget < whole.search["spent"]:
        for one, longer in zip(pool, whole, strict=False):
            assert longer.token_ids[: one.num_tokens] == one.token_ids
        assert timeless(search(tiny_lm, name, budget=budget)) == timeless(pool)


def test_when_a_budget_ends_a_search_chooses_among_the_rows_that_are_alive(tiny_lm):
    pool = search(tiny_lm, "rebase", budget=61, stop=[])
    ends = {one.index: one.finish_reason for one in pool}
    assert {*ends.values()} == {"dropped", "length"}
    assert {ends[index] for index in pool.search["kept"]} == {"length"}
    parents = {one.parent for one in pool}
    assert pool.search["row"] in pool.search["kept"]
    assert not parents & {*pool.search["kept"]}


class Stop:
    """Ctrl-C at a token."""

    def __init__(self, at):
        self.left = at

    def __call__(self, event):
        self.left -= 1
        if not self.left:
            raise KeyboardInterrupt


@pytest.mark.parametrize("at", [pytest.param(2, marks=pytest.mark.slow), 37, 61])
@pytest.mark.parametrize("name", SEARCHES)
@pytest.mark.first(3)
def test_a_search_that_was_interrupted_goes_on_from_its_file(tiny_lm, tmp_path, name, at):
    expected = search(tiny_lm, name)
    pool = search(tiny_lm, name, on_token=Stop(at))
    assert pool.interrupted
    pool.save(tmp_path / "pool.jsonl")
    for one in pool:  # what is finished is there
        same = expected.candidates[one.index]
        assert one.token_ids == same.token_ids[: one.num_tokens]
    kept = et.Pool.load(tmp_path / "pool.jsonl")
    again = []
    found = search(tiny_lm, name, resume=kept, on_token=lambda event: again.append(event.index))
    assert not {*again} & {one.index for one in pool if one.finish_reason in ("stop", "length")}
    costs = ("computed", "again", "judge_tokens")
    assert timeless(found, *costs) == timeless(expected, *costs)
    assert found.search["computed"] - found.search["again"] >= 0


def test_a_score_that_was_not_told_before_an_interruption_is_kept_once(tiny_lm, monkeypatch):
    expected, asks, answer = search(tiny_lm, "rejection"), [], LiveRows._answer

    def stop_at_the_second(self, rows):
        asks.append(rows)
        if len(asks) == 2:
            raise KeyboardInterrupt
        answer(self, rows)

    monkeypatch.setattr(LiveRows, "_answer", stop_at_the_second)
    pool = search(tiny_lm, "rejection")
    assert pool.interrupted
    found = search(tiny_lm, "rejection", resume=pool)
    assert found.search["scored"] == expected.search["scored"]


def test_a_search_is_kept_in_a_file(tiny_lm, tmp_path):
    for name in ("rebase", "adaptive"):
        pool = search(tiny_lm, name)
        pool.save(tmp_path / "pool.jsonl")
        assert et.Pool.load(tmp_path / "pool.jsonl") == pool


def test_a_text_is_read_once_by_its_scorer(tiny_lm):
    seen = []

    def once(prompt, completions):
        seen.extend(completions)
        return [float(len(text)) for text in completions]

    et.search(tiny_lm, PROMPT, "rejection", once, settings={"n": 7, "cuts": (4, 9)}, **SAMPLING)
    assert len(seen) == len({*seen}) > 7


def test_rows_that_were_cut_off_do_not_vote(tiny_lm):
    pool = et.search(tiny_lm, PROMPT, "first", settings={"n": 3}, seed=5, max_tokens=2)
    assert {one.finish_reason for one in pool} == {"length"}
    assert (pool.search["row"], pool.search["tally"]) == (None, {})


def test_a_step_ends_with_its_delimiter(tiny_lm):
    settings = {"n": 4, "step_tokens": None, "delimiter": "kk", "max_steps": 2, "expand": 4}
    options = {"settings": settings, "seed": 5, "max_tokens": 60, "temperature": 1.5}
    first = et.search(tiny_lm, PROMPT, "beam", "logprob", **options).candidates[:4]
    assert any(one.text.endswith("kk") for one in first)
    for one in first:
        assert one.text.count("kk") == one.text.endswith("kk")


@pytest.mark.parametrize(
    ("method", "options", "told"),
    [
        ("rejection", {}, "reads the scores of rows; name a scorer"),
        ("adaptive", {"scorer": "logprob"}, "reads no scores; leave the scorer out"),
        ("adaptive", {"budget": 0}, "budget=0"),
        ("adaptive", {"settings": {"n": 0}}, "n=0"),
        ("adaptive", {"settings": {"k": 3}}, "'k'"),
        ("beem", {}, "beem"),
        ("particles", {"scorer": "logprob"}, "reads probabilities"),
        ("adaptive", {"reduce": "min"}, "reduce"),
    ],
)
def test_what_cannot_work_is_told_before_anything_is_sampled(tiny_lm, method, options, told):
    def never(event):
        raise AssertionError

    with pytest.raises((ValueError, et.EdificeError), match=told):
        et.search(tiny_lm, PROMPT, method, on_token=never, **options)


def test_a_rule_chooses_no_row_that_the_search_dropped(tiny_lm):
    pool = search(tiny_lm, "rejection")
    best = max(pool, key=lambda one: one.scores["linear"])
    scores = {**best.scores, "linear": best.scores["linear"] + 1}
    dropped = next(one for one in pool if one.is_dropped)
    rows = tuple(replace(one, scores=scores) if one is dropped else one for one in pool)
    choice = et.select(replace(pool, candidates=rows))
    assert choice.candidate == pool.chosen == pool[pool.search["row"]]
    assert choice.abstained == sum(one.is_dropped for one in pool) > 0


def test_a_search_says_what_it_came_to(tiny_lm):
    pool = search(tiny_lm, "rejection")
    tokens = pool.search["spent"]
    row = pool.chosen.index
    assert f"; rejection chose row {row}, {tokens} tokens drawn; scored" in repr(pool)
    assert et.Pool("q", ()).chosen is None


def test_a_search_that_was_interrupted_shows_it(tiny_lm, tmp_path):
    with pytest.warns(et.PoolWarning, match=r"interrupted: \d rows are begun, and none is chosen"):
        pool = search(tiny_lm, "adaptive", on_token=Stop(4))
    assert "interrupted; adaptive is not over, " in repr(pool)
    assert pool.chosen is None
    pool.save(tmp_path / "pool.jsonl")
    assert "adaptive is not over" in repr(et.Pool.load(tmp_path / "pool.jsonl"))


def test_a_search_over_whole_texts_says_that_no_two_are_equal(tiny_lm):
    found = r"search 'first' compared whole texts, and no two of \d are equal; .* answer='number'"
    longer = {**SAMPLING, "max_tokens": 60}
    with pytest.warns(et.PoolWarning, match=found) as caught:
        et.search(tiny_lm, PROMPT, "first", settings={"n": 7}, **longer)
    assert caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        et.search(tiny_lm, PROMPT, "first", settings={"n": 7}, **longer, answer="number")
        search(tiny_lm, "rejection")


def test_a_search_that_has_ended_cannot_be_resumed(tiny_lm):
    pool = search(tiny_lm, "adaptive")
    with pytest.raises(ValueError, match="has ended"):
        search(tiny_lm, "adaptive", resume=pool)
    pool = search(tiny_lm, "adaptive", on_token=Stop(3))
    with pytest.raises(ValueError, match="seed=5, given 6"):
        search(tiny_lm, "adaptive", resume=pool, seed=6)


def test_help_shows_the_function_and_not_its_room():
    assert isinstance(sys.modules["edifice_tt.search"].books, ModuleType)
    text = pydoc.render_doc(et.search, renderer=pydoc.plaintext)
    assert "search(lm: " in text
    assert "budget: int | None = None" in text
    assert "Search for an answer to one prompt" in text
    assert "PACKAGE CONTENTS" not in text
    assert et.search.__doc__ == inspect.unwrap(et.search).__doc__
    assert inspect.isroutine(et.search)
    assert et.search.__name__ == "edifice_tt.search"


def test_the_room_is_called_by_its_name_whichever_is_imported_first():
    """`edifice_tt.search` is a room and a function."""
    whole = "import inspect, edifice_tt as et; assert 'budget' in inspect.signature(et.search)."
    both = "import edifice_tt.search.books; assert edifice_tt.search.books.Books"
    for lines in ((whole + "parameters", both), (both, whole + "parameters")):
        subprocess.run([sys.executable, "-c", "\n".join(lines)], check=True)
