"""Pools and their files: what is written comes back, and what is damaged says where."""

import json
import math
import pickle

import pytest

import edifice_tt as et
from edifice_tt.errors import CheckpointError

POOL = et.Pool(
    "What is 2 + 2?",
    (
        et.Candidate(0, "4", (55, 2), (-0.1, -0.3), "eos"),
        et.Candidate(1, "four", (105, 114), (-1.5, -2.5), "length", answer="4"),
        et.Candidate(2, "", (2,), (-7.0,), "stop"),
    ),
    {"model": "tiny", "seed": 3, "temperature": 0.8, "stop": ["\n", 5]},
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

HEADER = {"kind": "pool", "schema": 1, "prompt": "q", "settings": {}}
CANDIDATE = {
    "kind": "candidate",
    "index": 0,
    "text": "a",
    "token_ids": [1],
    "token_logprobs": [-0.5],
    "finish_reason": "eos",
    "answer": None,
}
SCORE = {"kind": "score", "scorer": "s", "index": 0, "score": 0.5}


def lines(*records):
    return "".join(r if isinstance(r, str) else json.dumps(r) + "\n" for r in records)


def without(record, name):
    return {key: value for key, value in record.items() if key != name}


# --- the records


def test_a_pool_counts_and_gives_its_candidates():
    assert len(POOL) == 3
    assert list(POOL) == list(POOL.candidates)


def test_scores_are_added_to_a_new_pool_and_the_old_one_stays():
    once = POOL.with_scores("a", [1.0, 2.0, 3.0])
    twice = once.with_scores("b", [4.0, 5.0, 6.0])
    assert [dict(c.scores) for c in POOL] == [{}, {}, {}]
    assert [dict(c.scores) for c in once] == [{"a": 1.0}, {"a": 2.0}, {"a": 3.0}]
    assert dict(twice.candidates[1].scores) == {"a": 2.0, "b": 5.0}
    assert (POOL.scorers, once.scorers, twice.scorers) == ([], ["a"], ["a", "b"])


def test_scorers_are_those_that_scored_every_candidate():
    partly = et.Pool("q", (et.Candidate(0, "a", scores={"x": 1.0}), et.Candidate(1, "b")))
    assert partly.scorers == []


@pytest.mark.parametrize("scores", [[], [1.0, 2.0], [1.0] * 4])
def test_scores_must_be_one_a_candidate(scores):
    with pytest.raises(ValueError, match="argument"):
        POOL.with_scores("a", scores)


def test_a_pool_as_a_dict_is_what_json_holds():
    scored = POOL.with_scores("a", [1.0, 2.0, 3.0])
    read = json.loads(json.dumps(scored.to_dict()))
    assert read["prompt"] == POOL.prompt
    assert read["settings"]["seed"] == 3
    assert read["candidates"][1] == {
        "index": 1,
        "text": "four",
        "token_ids": [105, 114],
        "token_logprobs": [-1.5, -2.5],
        "finish_reason": "length",
        "answer": "4",
        "scores": {"a": 2.0},
    }


# --- there and back


def test_a_pool_comes_back_as_it_was(tmp_path):
    path = tmp_path / "pool.jsonl"
    pool = POOL.with_scores("logprob", [-0.2, -2.0, -7.0]).with_scores("x", [0.0, 1e-300, -3.5])
    pool.save(path)
    assert et.Pool.load(path) == pool
    assert et.Pool.load(str(path)) == pool


def test_what_was_saved_again_is_the_same_file(tmp_path):
    pool = POOL.with_scores("x", [1.0, 2.0, 3.0])
    pool.save(tmp_path / "a")
    et.Pool.load(tmp_path / "a").save(tmp_path / "b")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_floats_come_back_to_the_last_bit(tmp_path, rng):
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
    pool.save(tmp_path / "pool")
    loaded = et.Pool.load(tmp_path / "pool").candidates[0]
    assert [x.hex() for x in loaded.token_logprobs] == [x.hex() for x in values]
    scores = [loaded.scores[f"s{number}"] for number in range(len(values))]
    assert [x.hex() for x in scores] == [x.hex() for x in values]


@pytest.mark.parametrize("text", ODD_TEXTS, ids=ascii)
def test_any_text_comes_back_and_takes_one_line(tmp_path, text):
    path = tmp_path / "pool"
    pool = et.Pool(
        text, (et.Candidate(0, text, answer=text), et.Candidate(1, "b")), {"stop": [text]}
    ).with_scores(text or "s", [1.0, 2.0])
    pool.save(path)
    assert et.Pool.load(path) == pool
    assert path.read_bytes().count(b"\n") == 1 + 2 + 2


def test_a_file_with_the_line_ends_of_windows_is_read(tmp_path):
    path = tmp_path / "pool"
    POOL.save(path)
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert et.Pool.load(path) == POOL


def test_a_file_without_a_last_line_end_is_read(tmp_path):
    path = tmp_path / "pool"
    POOL.save(path)
    path.write_bytes(path.read_bytes().rstrip(b"\n"))
    assert et.Pool.load(path) == POOL


def test_a_pool_can_go_to_another_process():
    assert pickle.loads(pickle.dumps(POOL)) == POOL


# --- adding scores


def test_scores_are_appended_and_nothing_else_changes(tmp_path):
    path = tmp_path / "pool"
    POOL.save(path)
    before = path.read_bytes()
    scored = POOL.with_scores("\u2028 odd name", [1.0, 2.0, 3.0])
    scored.append_scores(path, "\u2028 odd name")
    assert path.read_bytes().startswith(before)
    assert et.Pool.load(path) == scored


def test_a_later_score_replaces_an_earlier_one(tmp_path):
    path = tmp_path / "pool"
    pool = POOL.with_scores("a", [1.0, 2.0, 3.0]).with_scores("b", [0.0, 0.0, 0.0])
    pool.save(path)
    again = pool.with_scores("a", [9.0, 8.0, 7.0])
    again.append_scores(path, "a")
    assert et.Pool.load(path) == again


def test_scores_can_be_appended_where_the_last_line_has_no_end(tmp_path):
    path = tmp_path / "pool"
    POOL.save(path)
    path.write_bytes(path.read_bytes().rstrip(b"\n"))
    scored = POOL.with_scores("a", [1.0, 2.0, 3.0])
    scored.append_scores(path, "a")
    assert et.Pool.load(path) == scored


def test_appending_to_a_file_that_is_not_there_makes_none(tmp_path):
    path = tmp_path / "pool"
    with pytest.raises(FileNotFoundError):
        POOL.with_scores("a", [1.0, 2.0, 3.0]).append_scores(path, "a")
    assert not path.exists()


# --- saving is all or nothing


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_pool_that_cannot_be_written_leaves_the_old_file(tmp_path, value):
    path = tmp_path / "pool"
    POOL.save(path)
    before = path.read_bytes()
    with pytest.raises(ValueError, match="JSON"):
        POOL.with_scores("s", [0.0, value, 0.0]).save(path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


# --- damaged and foreign files

# what, the file, the line that is blamed (None: the whole file), a word of the reason
BAD_FILES = [
    ("empty", "", None, "empty"),
    ("white space", "  \n", 1, "not a pool file"),
    ("a sentence", "hello\n", 1, "not a pool file"),
    ("half a header", '{"kind": "pool", "sch', 1, "not a pool file"),
    ("binary", b"GGUF\x03\x00\xff\xfe\x80" * 40, None, "UTF-8"),
    ("a list", "[1, 2]\n", 1, "object"),
    ("a number", "17\n", 1, "object"),
    ("a text", '"pool"\n', 1, "object"),
    ("null", "null\n", 1, "object"),
    ("nested without end", "[" * 100_000, 1, "not a pool file"),
    ("other JSON", '{"a": 1}\n', 1, "kind"),
    ("no header", lines(CANDIDATE), 1, "header"),
    ("a newer schema", lines({**HEADER, "schema": 2}, CANDIDATE), 1, "schema"),
    ("schema as text", lines({**HEADER, "schema": "1"}, CANDIDATE), 1, "schema"),
    ("schema true", lines({**HEADER, "schema": True}, CANDIDATE), 1, "schema"),
    ("no schema", lines(without(HEADER, "schema"), CANDIDATE), 1, "schema"),
    ("no prompt", lines(without(HEADER, "prompt"), CANDIDATE), 1, "prompt"),
    ("no settings", lines(without(HEADER, "settings"), CANDIDATE), 1, "settings"),
    ("prompt null", lines({**HEADER, "prompt": None}, CANDIDATE), 1, "prompt"),
    ("settings list", lines({**HEADER, "settings": []}, CANDIDATE), 1, "settings"),
    ("two headers", lines(HEADER, CANDIDATE, HEADER), 3, "pool"),
    ("no candidates", lines(HEADER), None, "no candidates"),
    ("a blank line", lines(HEADER, "\n", CANDIDATE), 2, "damaged"),
    ("a line cut short", lines(HEADER, CANDIDATE) + '{"kind": "sco', 3, "damaged"),
    ("a list inside", lines(HEADER, CANDIDATE, "[]\n"), 3, "object"),
    ("unknown kind", lines(HEADER, CANDIDATE, {"kind": "vote"}), 3, "vote"),
    ("kind a list", lines(HEADER, CANDIDATE, {"kind": []}), 3, "kind"),
    ("no kind", lines(HEADER, without(CANDIDATE, "kind")), 2, "kind"),
    ("an index twice", lines(HEADER, CANDIDATE, CANDIDATE), 3, "twice"),
    *(
        (f"no {name}", lines(HEADER, without(CANDIDATE, name)), 2, name)
        for name in without(CANDIDATE, "kind")
    ),
    ("unknown field", lines(HEADER, {**CANDIDATE, "colour": 1}), 2, "colour"),
    ("index text", lines(HEADER, {**CANDIDATE, "index": "0"}), 2, "index"),
    ("index 1.5", lines(HEADER, {**CANDIDATE, "index": 1.5}), 2, "index"),
    ("index true", lines(HEADER, {**CANDIDATE, "index": True}), 2, "index"),
    ("index negative", lines(HEADER, {**CANDIDATE, "index": -1}), 2, "index"),
    ("text null", lines(HEADER, {**CANDIDATE, "text": None}), 2, "text"),
    ("ids null", lines(HEADER, {**CANDIDATE, "token_ids": None}), 2, "token_ids"),
    ("ids text", lines(HEADER, {**CANDIDATE, "token_ids": "ab"}), 2, "token_ids"),
    ("ids 1.5", lines(HEADER, {**CANDIDATE, "token_ids": [1.5]}), 2, "token_ids"),
    ("ids true", lines(HEADER, {**CANDIDATE, "token_ids": [True]}), 2, "token_ids"),
    ("ids negative", lines(HEADER, {**CANDIDATE, "token_ids": [-4]}), 2, "token_ids"),
    ("logprobs NaN", lines(HEADER, {**CANDIDATE, "token_logprobs": [math.nan]}), 2, "NaN"),
    ("logprobs inf", lines(HEADER, {**CANDIDATE, "token_logprobs": [-math.inf]}), 2, "Infinity"),
    (
        "logprobs too large",
        lines(HEADER, json.dumps(CANDIDATE).replace("-0.5", "-1e999")),
        2,
        "token_logprobs",
    ),
    ("logprobs text", lines(HEADER, {**CANDIDATE, "token_logprobs": ["x"]}), 2, "token_logprobs"),
    ("logprobs null", lines(HEADER, {**CANDIDATE, "token_logprobs": None}), 2, "token_logprobs"),
    ("finish other", lines(HEADER, {**CANDIDATE, "finish_reason": "bored"}), 2, "bored"),
    ("finish null", lines(HEADER, {**CANDIDATE, "finish_reason": None}), 2, "finish_reason"),
    ("answer number", lines(HEADER, {**CANDIDATE, "answer": 4}), 2, "answer"),
    ("score of nobody", lines(HEADER, CANDIDATE, {**SCORE, "index": 5}), 3, "5"),
    ("score before", lines(HEADER, SCORE, CANDIDATE), 2, "not there"),
    ("score NaN", lines(HEADER, CANDIDATE, {**SCORE, "score": math.nan}), 3, "NaN"),
    (
        "score too large",
        lines(HEADER, CANDIDATE, json.dumps(SCORE).replace("0.5", "1e999")),
        3,
        "score",
    ),
    ("score of 400 digits", lines(HEADER, CANDIDATE, {**SCORE, "score": 10**400}), 3, "large"),
    ("score text", lines(HEADER, CANDIDATE, {**SCORE, "score": "high"}), 3, "score"),
    ("score true", lines(HEADER, CANDIDATE, {**SCORE, "score": True}), 3, "score"),
    ("score null", lines(HEADER, CANDIDATE, {**SCORE, "score": None}), 3, "score"),
    ("score index true", lines(HEADER, CANDIDATE, {**SCORE, "index": False}), 3, "index"),
    ("score index list", lines(HEADER, CANDIDATE, {**SCORE, "index": [0]}), 3, "index"),
    ("scorer number", lines(HEADER, CANDIDATE, {**SCORE, "scorer": 5}), 3, "scorer"),
    ("scorer list", lines(HEADER, CANDIDATE, {**SCORE, "scorer": []}), 3, "scorer"),
    *(
        (f"score, no {name}", lines(HEADER, CANDIDATE, without(SCORE, name)), 3, name)
        for name in without(SCORE, "kind")
    ),
]


def test_the_sound_form_of_the_damaged_files_is_read(tmp_path):
    """Otherwise each of them could be refused for another reason than its own."""
    path = tmp_path / "pool"
    path.write_text(lines(HEADER, CANDIDATE, SCORE))
    assert et.Pool.load(path) == et.Pool(
        "q", (et.Candidate(0, "a", (1,), (-0.5,), "eos", scores={"s": 0.5}),)
    )


@pytest.mark.parametrize(
    ("content", "line", "word"), [pytest.param(*rest, id=what) for what, *rest in BAD_FILES]
)
def test_a_file_that_is_no_pool_says_which_line_and_why(tmp_path, content, line, word):
    path = tmp_path / "some pool.jsonl"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(CheckpointError) as caught:
        et.Pool.load(path)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert (f", line {line}: " in message) if line else ("line" not in message)
    assert word in message.removeprefix(str(path))
    assert "\n" not in message
    assert len(message) < len(str(path)) + 200
    for jargon in ("__init__", "unhashable", "interpreted", "NoneType", "attribute"):
        assert jargon not in message


def test_a_file_that_is_not_there_says_so(tmp_path):
    path = tmp_path / "nowhere.jsonl"
    with pytest.raises(CheckpointError, match="No such file") as caught:
        et.Pool.load(path)
    assert str(caught.value).startswith(str(path))


def test_a_folder_is_no_pool(tmp_path):
    with pytest.raises(CheckpointError, match="cannot be read"):
        et.Pool.load(tmp_path)


def test_a_full_disk_leaves_the_pool_as_it_was(tmp_path, monkeypatch):
    """Half a line of scores would make every candidate before it unreadable."""
    pool = et.Pool("p", (et.Candidate(0, "x"),))
    path = tmp_path / "pool.jsonl"
    pool.save(path)
    before = path.read_bytes()
    real = type(path).open

    def open_full(self, mode="r", **options):
        file = real(self, mode, buffering=0) if "+" in mode else real(self, mode, **options)
        if "+" not in mode:
            return file

        class Full:
            read = file.read
            __enter__ = lambda self: self  # noqa: E731
            __exit__ = lambda self, *_: file.close()  # noqa: E731

            def write(self, text):
                file.write(text[:5])
                raise OSError(28, "No space left on device")

        return Full()

    monkeypatch.setattr(type(path), "open", open_full)
    with pytest.raises(OSError, match="No space left"):
        pool.with_scores("s", [1.0]).append_scores(path, "s")
    assert path.read_bytes() == before
