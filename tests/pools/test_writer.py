"""Pool files: what is written comes back, and what is damaged says where."""

import json
import math
import os
import resource
import tracemalloc
import warnings

import numpy as np
import pytest

import edifice_tt as et
from edifice_tt.contract.errors import CheckpointError, PoolWarning
from edifice_tt.pools.lines import candidate_line
from edifice_tt.pools.pool import PoolFile
from edifice_tt.pools.writer import PoolWriter

POOL = et.Pool(
    "What is 2 + 2?",
    (
        et.Candidate(0, "4", (55, 2), (-0.1, -0.3), "eos"),
        et.Candidate(1, "four", (105, 114), (-1.5, -2.5), "length", answer="4", correct=True),
        et.Candidate(2, "", (2,), (-7.0,), "stop"),
    ),
    {"model": "tiny", "seed": 3, "temperature": 0.8, "stop": ["\n"]},
    gold="4",
)
OTHER = et.Pool(
    "And 3 + 4?",
    (et.Candidate(0, "7", num_tokens=5), et.Candidate(3, "8", finish_reason="unknown")),
    POOL.settings,
    problem="sevens",
)

# Every character that some function of Python takes for the end of a line, and wide ones.
ODD_TEXTS = [
    "a\nb",
    "a\r\nb\r",
    "a\u2028b\u2029c",
    "a\x85b",
    "a\x0bb\x0cc\x1cd\x1de\x1ef",
    "\u2028",
    "\x00",
    "\ufeff",
    "\U0001f600 \U0001f468\u200d\U0001f469\u200d\U0001f467",
    "\u0661\u0662 \u4f60\u597d \u05e9\u05dc\u05d5\u05dd",
    '"quoted" \\ back',
    "\ufffd",
    "",
    "   ",
]

HEADER = {"kind": "pool", "schema": 3, "settings": {}}
PROBLEM = {"kind": "problem", "problem": "p", "prompt": "q", "gold": None}
CANDIDATE = {
    "kind": "candidate",
    "problem": "p",
    "index": 0,
    "text": "a",
    "token_ids": [1],
    "token_logprobs": [-0.5],
    "num_tokens": 1,
    "finish_reason": "eos",
    "answer": None,
    "correct": None,
    "seconds": None,
}
SCORER = {"kind": "scorer", "scorer": "s", "range": "logit", "owner": None, "fingerprint": None}
SCORE = {"kind": "score", "problem": "p", "index": 0, "scorer": "s", "score": 0.5}
START = (HEADER, PROBLEM)
SOUND = (HEADER, PROBLEM, CANDIDATE, SCORER)


def lines(*records):
    return "".join(r if isinstance(r, str) else json.dumps(r) + "\n" for r in records)


def without(record, name):
    return {key: value for key, value in record.items() if key != name}


def write(path, *records):
    path.write_text(lines(*records), encoding="utf-8")
    return path


@pytest.fixture
def path(tmp_path):
    return tmp_path / "pool.jsonl"


# --- there and back


def test_a_pool_comes_back_as_it_was(path):
    pool = POOL.with_scores("logprob", [-0.2, -2.0, -7.0])
    pool = pool.with_scores("x", [0.0, 1e-300, 1], range="logit", steps=[[1.0], [], [0.5, 2]])
    pool.save(path)
    assert et.Pool.load(path) == pool
    assert et.Pool.load(str(path)) == pool


def test_many_pools_come_back_in_their_order(path):
    pools = [OTHER, POOL.with_scores("a", [1.0, 2.0, 3.0], range="probability")]
    et.write_pools(path, iter(pools))
    assert list(et.read_pools(path)) == pools


def test_what_was_saved_again_is_the_same_file(tmp_path):
    pools = [POOL.with_scores("x", [1.0, 2.0, 3.0]), OTHER]
    et.write_pools(tmp_path / "a", pools)
    et.write_pools(tmp_path / "b", et.read_pools(tmp_path / "a"))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_seconds_are_kept(path):
    et.Pool("q", (et.Candidate(0, "a", seconds=1.25),)).save(path)
    assert et.Pool.load(path).candidates[0].seconds == 1.25


def test_the_candidates_come_by_index_whatever_their_order_in_the_file(path):
    mixed = [{**CANDIDATE, "index": index, "text": str(index)} for index in (5, 0, 3)]
    write(path, *START, *mixed)
    assert [c.text for c in et.Pool.load(path)] == ["0", "3", "5"]


def test_problems_and_scores_may_be_interleaved(path):
    """As after resuming and rescoring; a wrong line would give a candidate to another problem."""
    other = {**PROBLEM, "problem": "o", "prompt": "other"}
    write(
        path,
        *(HEADER, PROBLEM, other, SCORER, {**SCORER, "scorer": "t"}),
        *({**CANDIDATE, "problem": name, "index": i} for i in (1, 0) for name in ("o", "p")),
        *({**SCORE, "problem": name, "index": 1, "score": 1.0} for name in ("p", "o")),
        {**CANDIDATE, "problem": "o", "index": 2},
        {**SCORE, "index": 0, "scorer": "t", "score": 3},
        {**SCORE, "problem": "o", "index": 2, "score": 7, "steps": [1, 2]},
        {**SCORE, "index": 1, "score": -2.0},
    )
    first, second = et.read_pools(path)
    assert [(c.index, dict(c.scores)) for c in first] == [(0, {"t": 3.0}), (1, {"s": -2.0})]
    assert [(c.index, dict(c.scores)) for c in second] == [(0, {}), (1, {"s": 1.0}), (2, {"s": 7})]
    assert dict(second.candidates[2].step_scores) == {"s": (1.0, 2.0)}
    assert (first.ranges, second.ranges) == ({"s": "logit", "t": "logit"}, {"s": "logit"})
    assert (first.prompt, second.prompt) == ("q", "other")


def test_floats_come_back_to_the_last_bit(path, rng):
    values = [
        *rng.normal(size=50) * 10.0 ** rng.integers(-300, 300, size=50),
        0.1 + 0.2,
        5e-324,
        -1.7976931348623157e308,
        math.pi,
        -0.0,
    ]
    values = [float(value) for value in values]
    pool = et.Pool("q", (et.Candidate(0, "a", (1,) * len(values), tuple(values)),))
    for number, value in enumerate(values):
        pool = pool.with_scores(f"s{number}", [value])
    pool.save(path)
    loaded = et.Pool.load(path).candidates[0]
    assert [x.hex() for x in loaded.token_logprobs] == [x.hex() for x in values]
    scores = [loaded.scores[f"s{number}"] for number in range(len(values))]
    assert [x.hex() for x in scores] == [x.hex() for x in values]


@pytest.mark.parametrize("text", ODD_TEXTS, ids=ascii)
def test_any_text_comes_back_and_takes_one_line(path, text):
    pool = et.Pool(
        text,
        (et.Candidate(0, text, answer=text), et.Candidate(1, "b")),
        {"stop": [text]},
        text,
        text,
    ).with_scores(text or "s", [1.0, 2.0])
    pool.save(path)
    assert et.Pool.load(path) == pool
    assert path.read_bytes().count(b"\n") == 1 + 1 + 2 + 1 + 2


def test_a_file_with_the_line_ends_of_windows_is_read(path):
    et.write_pools(path, [POOL, OTHER])
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert list(et.read_pools(path)) == [POOL, OTHER]


def test_a_file_without_a_last_line_end_is_read(path):
    POOL.save(path)
    path.write_bytes(path.read_bytes().rstrip(b"\n"))
    assert et.Pool.load(path) == POOL


def test_a_file_of_several_problems_is_no_single_pool(path):
    et.write_pools(path, [POOL, OTHER])
    with pytest.raises(CheckpointError, match="2 problems; read them with edifice_tt"):
        et.Pool.load(path)


def test_a_problem_without_candidates_is_an_empty_pool(path):
    write(path, *START, {**PROBLEM, "problem": "o"}, CANDIDATE)
    assert [(pool.problem, len(pool)) for pool in et.read_pools(path)] == [("p", 1), ("o", 0)]


def test_reading_holds_one_problem_at_a_time(path):
    """300 problems of 1 MB in all; of what was read, only the last pool may stay."""
    candidates = tuple(et.Candidate(i, "x" * 1000) for i in range(10))
    many = (et.Pool("q", candidates, problem=str(i)) for i in range(300))
    et.write_pools(path, many)
    pools = et.read_pools(path)
    tracemalloc.start()
    try:
        assert sum(len(pool) for pool in pools) == 3000
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 300_000


# --- what cannot be written


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_pool_that_cannot_be_written_leaves_the_old_file(path, value):
    POOL.save(path)
    before = path.read_bytes()
    with pytest.raises(ValueError, match="JSON"):
        POOL.with_scores("s", [0.0, value, 0.0]).save(path)
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize(
    ("pools", "message"),
    [
        ([], "there are no pools to write"),
        ([POOL, POOL], "problem '0' is there twice"),
        ([POOL, et.Pool("q", (), {**POOL.settings, "seed": 4}, "1")], "'1' has seed=4, .* 3; "),
    ],
    ids=["none", "twice", "settings"],
)
def test_pools_that_make_no_file_are_refused(path, pools, message):
    with pytest.raises(ValueError, match=message):
        et.write_pools(path, pools)
    assert not path.exists()


# --- adding scores


def test_scores_are_appended_and_nothing_else_changes(path):
    POOL.save(path)
    before = path.read_bytes()
    scored = POOL.with_scores("\u2028 odd name", [1.0, 2.0, 3.0], range="probability")
    scored.append_scores(path, "\u2028 odd name")
    assert path.read_bytes().startswith(before)
    assert et.Pool.load(path) == scored


def test_a_later_score_replaces_an_earlier_one(path):
    pool = POOL.with_scores("a", [1.0, 2.0, 3.0], steps=[[1.0], [2.0], [3.0]])
    pool = pool.with_scores("b", [0.0, 0.0, 0.0])
    pool.save(path)
    again = pool.with_scores("a", [9.0, 8.0, 7.0])
    again.append_scores(path, "a")
    assert et.Pool.load(path) == again


def test_who_gave_the_scores_is_declared_once_before_them(path):
    et.write_pools(path, [POOL, OTHER])
    with PoolWriter(path) as writer:
        for pool in (POOL, OTHER):
            scored = pool.with_scores("prm", [0.5] * len(pool), range="probability")
            writer.add_scores(scored, "prm", owner="judges 1.2", fingerprint="ab12")
    about = {"range": "probability", "owner": "judges 1.2", "fingerprint": "ab12"}
    assert PoolFile(path).scorers == {"prm": about}
    kinds = [json.loads(line)["kind"] for line in path.read_text().splitlines()]
    assert kinds[-6:] == ["scorer", *["score"] * 5]
    assert all(pool.ranges == {"prm": "probability"} for pool in et.read_pools(path))


def test_scores_can_be_appended_where_the_last_line_has_no_end(path):
    POOL.save(path)
    path.write_bytes(path.read_bytes().rstrip(b"\n"))
    scored = POOL.with_scores("a", [1.0, 2.0, 3.0])
    scored.append_scores(path, "a")
    assert et.Pool.load(path) == scored


def test_scores_of_another_pool_are_refused(path):
    """They would make the file unreadable."""
    POOL.save(path)
    before = path.read_bytes()
    more = et.Pool("q", (*POOL.candidates, et.Candidate(3, "new")))
    with pytest.raises(CheckpointError, match="it has no candidate 3 of problem '0'"):
        more.with_scores("a", [1.0] * 4).append_scores(path, "a")
    with pytest.raises(CheckpointError, match="it has no candidate 0 of problem 'sevens'"):
        OTHER.with_scores("a", [1.0] * 2).append_scores(path, "a")
    assert path.read_bytes() == before


def test_appending_to_a_file_that_is_not_there_makes_none(path):
    with pytest.raises(CheckpointError, match="No such file"):
        POOL.with_scores("a", [1.0, 2.0, 3.0]).append_scores(path, "a")
    assert not path.exists()


def test_a_full_disk_leaves_the_pool_as_it_was(path):
    """The limit on a file's size lets the first 20 bytes of the new lines in, as a disk would."""
    POOL.save(path)
    before = path.read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 20, hard))
    try:
        with pytest.raises(OSError, match="too large") as caught:
            POOL.with_scores("s", [1.0, 2.0, 3.0]).append_scores(path, "s")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert caught.value.filename == str(path)
    assert path.read_bytes() == before


def test_two_writers_cannot_hold_one_file(path):
    POOL.save(path)
    with PoolWriter(path), pytest.raises(CheckpointError, match="another process is writing"):
        PoolWriter(path)
    PoolWriter(path).__exit__()


# --- adding candidates


def test_each_candidate_is_in_the_file_as_soon_as_it_was_added(path):
    et.write_pools(path, [et.Pool(POOL.prompt, (), POOL.settings, gold="4")])
    with PoolWriter(path) as writer:
        for count, candidate in enumerate(POOL, 1):
            writer.add_candidates(et.Pool(POOL.prompt, (candidate,), gold="4"))
            assert len(et.Pool.load(path)) == count
        writer.add_candidates(OTHER)
    assert list(et.read_pools(path)) == [POOL, OTHER]


# --- torn ends


@pytest.mark.parametrize("left", [1, 7, 40])
def test_a_last_line_that_was_cut_off_is_left_out_with_a_warning(path, left):
    et.write_pools(path, [OTHER, POOL])
    *whole, last = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(whole) + last[:left])
    message = f"pool.jsonl, line {len(whole) + 1}: cut off after {left} bytes"
    with pytest.warns(PoolWarning, match=message):
        other, pool = et.read_pools(path)
    assert (other, pool.candidates) == (OTHER, POOL.candidates[:-1])


def test_a_line_cut_off_inside_a_character_is_left_out_too(path):
    et.Pool("q", (et.Candidate(0, "a"), et.Candidate(1, "\u20ac"))).save(path)
    content = path.read_bytes()
    path.write_bytes(content[: content.index("\u20ac".encode()) + 1])
    with pytest.warns(PoolWarning, match="line 4: cut off"):
        assert len(et.Pool.load(path)) == 1


def test_what_was_cut_off_is_removed_before_anything_is_added(path):
    POOL.save(path)
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"kind":"candidate","prob')
    scored = POOL.with_scores("a", [1.0, 2.0, 3.0])
    with pytest.warns(PoolWarning, match="cut off after 25 bytes"):
        scored.append_scores(path, "a")
    assert path.read_bytes().startswith(whole + b'{"kind":"scorer"')
    assert et.Pool.load(path) == scored


def test_a_whole_last_line_with_a_mistake_is_not_taken_for_a_torn_one(path):
    path.write_text(lines(*SOUND) + json.dumps({**SCORE, "score": math.nan}))
    with pytest.raises(CheckpointError, match="line 5: damaged pool file: score=nan"):
        et.read_pools(path)


# --- damaged and foreign files


# what, the file, the line that is blamed (None: the whole file), a word of the reason
def of_candidate(name, **fields):
    return name, lines(*START, {**CANDIDATE, **fields}), 3


def of_score(name, **fields):
    return name, lines(*SOUND, {**SCORE, **fields}), 5


BAD_FILES = [
    ("empty", "", None, "empty"),
    ("white space", "  \n", 1, "not a pool file"),
    ("a sentence", "hello\n", 1, "not JSON"),
    ("half a header", '{"kind": "pool", "sch', 1, "not a pool file"),
    ("binary", b"GGUF\x03\x00\xff\xfe\x80" * 40, 1, "UTF-8"),
    ("a byte order mark", b"\xef\xbb\xbf" + lines(*SOUND).encode(), 1, "byte order mark"),
    ("UTF-16", lines(*SOUND).encode("utf-16"), 1, "UTF-8"),
    ("bad UTF-8 inside", lines(*START).encode() + b'{"a":"\xff"}\n', 3, "UTF-8"),
    ("a list", "[1, 2]\n", 1, "object"),
    ("a number", "17\n", 1, "object"),
    ("a text", '"pool"\n', 1, "object"),
    ("null", "null\n", 1, "object"),
    ("nested without end", "[" * 100_000, 1, "not a pool file"),
    ("other JSON", '{"a": 1}\n', 1, "kind"),
    ("no header", lines(PROBLEM, CANDIDATE), 1, "header"),
    ("schema 1", lines({**HEADER, "schema": 1, "prompt": "q"}), 1, "schema is 1, this edifice_tt"),
    ("a newer schema", lines({**HEADER, "schema": 4}), 1, "schema is 4, .* 2 to 3; update"),
    ("schema as text", lines({**HEADER, "schema": "2"}), 1, "schema"),
    ("schema true", lines({**HEADER, "schema": True}), 1, "schema"),
    ("no schema", lines(without(HEADER, "schema")), 1, "schema"),
    ("no settings", lines(without(HEADER, "settings")), 1, "settings"),
    ("settings list", lines({**HEADER, "settings": []}), 1, "settings"),
    ("settings NaN", lines({**HEADER, "settings": {"a": math.nan}}), 1, "settings"),
    ("two files joined", lines(*SOUND, HEADER), 5, "use edifice-tt merge"),
    ("header only", lines(HEADER), None, "no candidates"),
    ("a problem only", lines(*START), None, "no candidates"),
    ("a blank line", lines(*START, "\n", CANDIDATE), 3, "damaged"),
    ("a line torn inside", lines(*START, '{"kind": "cand\n', CANDIDATE), 3, "not JSON"),
    ("two objects on a line", lines(*START, "{} {}\n", CANDIDATE), 3, "more follows at column 3"),
    ("a list inside", lines(*SOUND, "[]\n"), 5, "object"),
    ("unknown kind", lines(*SOUND, {"kind": "vote"}), 5, "vote"),
    ("kind a list", lines(*SOUND, {"kind": []}), 5, "kind"),
    ("no kind", lines(*START, without(CANDIDATE, "kind")), 3, "kind"),
    ("a problem twice", lines(*SOUND, PROBLEM), 5, "twice"),
    ("prompt null", lines(HEADER, {**PROBLEM, "prompt": None}), 2, "prompt"),
    ("gold a number", lines(HEADER, {**PROBLEM, "gold": 4}), 2, "gold"),
    ("problem a number", lines(HEADER, {**PROBLEM, "problem": 4}), 2, "problem"),
    ("a candidate before its problem", lines(HEADER, CANDIDATE, PROBLEM), 2, "'p', which no line"),
    ("an index twice", lines(*SOUND, CANDIDATE), 5, "twice"),
    *(
        (f"{record['kind']}, no {name}", lines(*before, without(record, name)), line, name)
        for before, record, line in (
            ((HEADER,), PROBLEM, 2),
            (START, CANDIDATE, 3),
            (START, SCORER, 3),
            (SOUND, SCORE, 5),
        )
        for name in without(record, "kind")
    ),
    (*of_candidate("unknown field", colour=1), "colour"),
    (*of_candidate("index text", index="0"), "index"),
    (*of_candidate("index 1.5", index=1.5), "index"),
    (*of_candidate("index true", index=True), "index"),
    (*of_candidate("index negative", index=-1), "index"),
    (*of_candidate("index of 400 digits", index=10**400), "index"),
    (*of_candidate("text null", text=None), "text"),
    (*of_candidate("half a character", text="a\ud800"), "half a character"),
    (*of_candidate("the other half", answer="\udc00"), "half a character"),
    (*of_candidate("ids null", token_ids=None), "token_ids"),
    (*of_candidate("ids text", token_ids="ab"), "token_ids"),
    (*of_candidate("ids 1.5", token_ids=[1.5]), "token_ids"),
    (*of_candidate("ids true", token_ids=[True]), "token_ids"),
    (*of_candidate("ids negative", token_ids=[-4]), "token_ids"),
    (*of_candidate("fewer ids than tokens", num_tokens=3), "num_tokens=3"),
    (*of_candidate("tokens null", num_tokens=None), "num_tokens"),
    (*of_candidate("logprobs NaN", token_logprobs=[math.nan]), "token_logprobs"),
    (*of_candidate("logprobs inf", token_logprobs=[-math.inf]), "token_logprobs"),
    (*of_candidate("logprobs text", token_logprobs=["x"]), "token_logprobs"),
    (*of_candidate("logprobs null", token_logprobs=None), "token_logprobs"),
    (*of_candidate("finish other", finish_reason="bored"), "bored"),
    (*of_candidate("finish null", finish_reason=None), "finish_reason"),
    (*of_candidate("finish list", finish_reason=[]), "finish_reason"),
    (*of_candidate("answer number", answer=4), "answer"),
    (*of_candidate("correct 1", correct=1), "correct"),
    (*of_candidate("correct text", correct="true"), "correct"),
    (*of_candidate("seconds negative", seconds=-1.0), "seconds"),
    (*of_candidate("seconds infinite", seconds=math.inf), "seconds"),
    ("range a number", lines(*START, {**SCORER, "range": 1}), 3, "range"),
    ("range other", lines(*START, {**SCORER, "range": "percent"}), 3, "percent"),
    ("owner number", lines(*START, {**SCORER, "owner": 3}), 3, "owner"),
    ("score of an undeclared scorer", lines(*START, CANDIDATE, SCORE), 4, "'s', which no line"),
    ("score before", lines(*START, SCORER, SCORE, CANDIDATE), 4, "not there"),
    (*of_score("score of nobody", index=5), "5"),
    (*of_score("score of no problem", problem="x"), "'x'"),
    (*of_score("score NaN", score=math.nan), "score=nan"),
    (*of_score("score infinite", score=math.inf), "score=inf"),
    (*of_score("score of 400 digits", score=10**400), "large"),
    (*of_score("score text", score="high"), "score"),
    (*of_score("score true", score=True), "score"),
    (*of_score("score null", score=None), "score"),
    (*of_score("score index true", index=False), "index"),
    (*of_score("score index list", index=[0]), "index"),
    (*of_score("scorer number", scorer=5), "scorer"),
    (*of_score("scorer list", scorer=[]), "scorer"),
    (*of_score("steps null", steps=None), "steps"),
    (*of_score("steps NaN", steps=[math.nan]), "steps"),
]


def test_the_sound_form_of_the_damaged_files_is_read(path):
    """Otherwise each of them could be refused for another reason than its own."""
    write(path, *SOUND, {**SCORE, "steps": [1, 0.5]})
    candidate = et.Candidate(
        *(0, "a", (1,), (-0.5,), "eos"), scores={"s": 0.5}, step_scores={"s": (1.0, 0.5)}
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert et.Pool.load(path) == et.Pool("q", (candidate,), {}, "p", ranges={"s": "logit"})


@pytest.mark.parametrize(
    ("content", "line", "word"), [pytest.param(*rest, id=what) for what, *rest in BAD_FILES]
)
def test_a_file_that_is_no_pool_says_which_line_and_why(tmp_path, content, line, word):
    path = tmp_path / "some pool.jsonl"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(CheckpointError, match=word) as caught:
        et.read_pools(path)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert (f", line {line}: " in message) if line else ("line" not in message)
    assert "\n" not in message
    assert len(message) < len(str(path)) + 200
    for jargon in ("__init__", "unhashable", "interpreted", "NoneType", "attribute"):
        assert jargon not in message


def test_a_file_that_is_not_there_says_so(path):
    with pytest.raises(CheckpointError, match="No such file") as caught:
        et.Pool.load(path)
    assert str(caught.value).startswith(str(path))


def test_a_folder_is_no_pool(tmp_path):
    with pytest.raises(CheckpointError, match="cannot be read"):
        et.Pool.load(tmp_path)


def older(path, settings, *problems):
    """A file in which null stands for both: (answer, correct) of each candidate of each problem."""
    lines = [{"kind": "pool", "schema": 2, "settings": settings}]
    for name, rows in enumerate(problems):
        lines.append({"kind": "problem", "problem": str(name), "prompt": "q", "gold": None})
        for index, (answer, correct) in enumerate(rows):
            line = json.loads(candidate_line(str(name), et.Candidate(index, "text")))
            lines.append({**line, "answer": answer, "correct": correct})
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return [[c.answer for c in pool] for pool in et.read_pools(path)]


def test_an_older_file_tells_none_found_from_not_looked(path):
    unmarked, wrong = (None, None), (None, False)
    assert older(path, {"answer": "number"}, [unmarked, wrong]) == [["", ""]]
    assert older(path, {}, [wrong, wrong], [("7", True)]) == [["", ""], ["7"]]
    assert older(path, {}, [unmarked], [("7", True)]) == [[None], ["7"]]
    assert older(path, {}, [wrong], [wrong]) == [[None], [None]]  # marked by who knows what


def seen(path):
    return [sorted(pool.seen_by) for pool in et.read_pools(path)]


SEEN = [
    POOL.with_scores("v", [0.5] * 3, seen=True).with_scores("w", [0.5] * 3),
    OTHER.with_scores("v", [0.5] * 2).with_scores("w", [0.25] * 2, seen=True),
]


def test_a_file_keeps_which_problems_a_scorer_was_trained_on(path):
    et.write_pools(path, iter(SEEN))
    assert list(et.read_pools(path)) == SEEN
    assert seen(path) == [["v"], ["w"]]
    file = PoolFile(path)
    assert file.scorers["v"]["trained_on"] == {POOL.problem}
    et.write_pools(path, file, file.scorers)
    assert list(et.read_pools(path)) == SEEN


def test_scores_that_are_added_tell_what_their_scorer_was_trained_on(path):
    et.write_pools(path, [POOL, OTHER])
    for pool in SEEN[::-1]:
        pool.append_scores(path, "v")
        pool.append_scores(path, "w")
    assert seen(path) == [["v"], ["w"]]
    OTHER.with_scores("w", [1.0] * 2).append_scores(path, "w")
    assert seen(path) == [["v"], []]
    with PoolWriter(path) as writer:  # known beforehand, it is one line
        before = path.read_bytes().count(b'"kind":"scorer"')
        for pool in SEEN:
            writer.add_scores(pool, "v", trained_on=[OTHER.problem])
    assert seen(path) == [[], ["v"]]
    assert path.read_bytes().count(b'"kind":"scorer"') == before + 1


def test_a_file_without_what_a_scorer_was_trained_on_is_read_as_ever(path):
    et.write_pools(path, [POOL.with_scores("v", [0.5] * 3)])
    assert b"trained_on" not in path.read_bytes()
    assert seen(path) == [[]]


COST = {"candidates": 3, "tokens": 37, "seconds": 0.625}


def test_a_file_keeps_what_scoring_has_spent(path):
    pool = POOL.with_scores("v", [0.5] * 3).with_cost("v", 37, 0.625)
    pool = pool.with_scores("w", [0.25] * 3).with_cost("w", None, 2.0)
    pool.save(path)
    back = et.Pool.load(path)
    assert back.scoring == {"v": COST, "w": {"candidates": 3, "tokens": None, "seconds": 2.0}}
    back.save(path)
    assert (
        et.Pool.load(path).scoring
        == pool.scoring
        == json.loads(json.dumps(pool.to_dict()))["scoring"]
    )


def test_what_was_spent_on_scores_that_others_replaced_is_forgotten(path):
    POOL.with_scores("v", [0.5] * 3).with_scores("w", [1.0] * 3).with_cost("v", 1, 1.0).with_cost(
        "w", 37, 0.625
    ).save(path)
    again = et.Pool.load(path).with_scores("v", [0.75] * 3)
    assert again.scoring == {"w": COST}
    again.append_scores(path, "v")
    assert et.Pool.load(path).scoring == {"w": COST}
    again.with_cost("v", 37, 0.625).append_scores(path, "v")
    assert et.Pool.load(path).scoring == {"v": COST, "w": COST}


def test_a_file_of_an_older_schema_gets_no_line_that_it_does_not_know(path):
    older(path, {}, [("7", True)])
    (pool,) = et.read_pools(path)
    pool.with_scores("v", [0.5]).with_cost("v", 1, 1.0).append_scores(path, "v")
    assert b'"scoring"' not in path.read_bytes()
    assert et.Pool.load(path).scoring == {}


# --- what others do to a file while it is read


def test_a_file_that_was_replaced_since_it_was_read_through_says_so(path):
    """The places of its lines are those of the old file; those of the new one are others."""
    et.write_pools(path, [POOL, OTHER])
    file = PoolFile(path)
    et.write_pools(path, [OTHER, POOL])
    for read in (lambda: list(file), lambda: file.pool("0"), lambda: file.line_of("0", 1)):
        with pytest.raises(CheckpointError, match="was changed while it was read; read it again"):
            read()


def test_a_file_that_was_cut_since_it_was_read_through_says_so(path):
    """As when `score` takes back what it had appended."""
    et.write_pools(path, [POOL])
    size = path.stat().st_size
    POOL.with_scores("s", [1.0, 2.0, 3.0]).append_scores(path, "s")
    file = PoolFile(path)
    os.truncate(path, size)
    with pytest.raises(CheckpointError, match="was changed while it was read"):
        list(file)


def test_a_file_that_was_written_over_since_it_was_read_through_says_so(path):
    et.write_pools(path, [POOL])
    file = PoolFile(path)
    with path.open("r+b") as other:
        other.write(b"{" * path.stat().st_size)
    with pytest.raises(CheckpointError, match="was changed while it was read"):
        list(file)


def test_a_file_that_is_being_read_goes_on_when_it_is_replaced(path):
    et.write_pools(path, [POOL, OTHER])
    pools = et.read_pools(path)
    first = next(pools)
    et.write_pools(path, [OTHER])
    assert [first, *pools] == [POOL, OTHER]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names here")
def test_a_pipe_is_no_pool_and_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(CheckpointError, match="no regular file"):
        PoolFile(tmp_path / "pipe")
    with pytest.raises(CheckpointError, match="it is a pipe"):
        PoolWriter(tmp_path / "pipe")


def test_numbers_of_numpy_are_written_as_numbers(path):
    numbers = et.Candidate(
        np.int64(3), "7", (np.int32(5),), (np.float64(-0.5),), correct=np.bool_(True), num_tokens=1
    )
    et.write_pools(path, [et.Pool("q", (numbers,), {"n": np.int64(4), "top_p": np.float32(0.5)})])
    (pool,) = et.read_pools(path)
    assert pool.settings == {"n": 4, "top_p": 0.5}
    assert pool.candidates == (et.Candidate(3, "7", (5,), (-0.5,), correct=True, num_tokens=1),)
