"""Candidates that others sampled become pools; what is not understood says where."""

import json

import pytest

import edifice_tt as et
from edifice_tt.contract.errors import CheckpointError, PoolWarning
from edifice_tt.pools.problems import read_problems

MARKED = {
    "problem": "m-0",
    "gold": "4",
    "candidates": [
        {"answer": "5", "correct": False, "score": 0.25, "num_tokens": 554},
        {"answer": "4", "correct": True, "score": 1, "num_tokens": 330},
    ],
}
PLAIN = {"prompt": "2 + 2?", "completions": ["It is 4.", "five"], "answer": 4}


@pytest.fixture
def source(tmp_path):
    return tmp_path / "foreign.jsonl"


def write(path, *records):
    lines = (r if isinstance(r, str) else json.dumps(r) for r in records)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def test_marked_and_scored_candidates_become_a_pool(source):
    (pool,) = et.import_pools(write(source, MARKED), scorer="prm", range="probability", model="big")
    assert pool == et.Pool(
        "",
        (
            et.Candidate(0, "", (), (), "unknown", "5", False, 554, scores={"prm": 0.25}),
            et.Candidate(1, "", (), (), "unknown", "4", True, 330, scores={"prm": 1.0}),
        ),
        {"model": "big"},
        "m-0",
        "4",
        {"prm": "probability"},
    )


def test_completions_become_a_pool(source):
    named = {**PLAIN, "problem": 17, "gold": "four"}
    del named["answer"]
    first, second = et.import_pools(write(source, PLAIN, named))
    assert [(c.index, c.text, c.finish_reason) for c in first] == [
        (0, "It is 4.", "unknown"),
        (1, "five", "unknown"),
    ]
    assert (first.problem, first.prompt, first.gold) == ("0", "2 + 2?", "4")
    assert (second.problem, second.gold, second.ranges) == ("17", "four", {})


def test_what_was_imported_makes_a_pool_file(source, tmp_path):
    et.write_pools(tmp_path / "pool", et.import_pools(write(source, MARKED, PLAIN)))
    assert list(et.read_pools(tmp_path / "pool")) == list(et.import_pools(source))


def test_fields_that_a_pool_does_not_hold_are_named_once(source):
    many = {**PLAIN, "level": 3, "subject": "x"}
    marked = {"candidates": [{"text": "a", "colour": 1}, {"text": "b", "colour": 2}]}
    with pytest.warns(PoolWarning, match="left out: level, subject, colour$") as caught:
        pools = list(et.import_pools(write(source, many, many, marked)))
    assert len(caught) == 1
    assert len(pools) == 3


def test_it_streams(source):
    """The second line is not looked at before it is asked for."""
    pools = et.import_pools(write(source, PLAIN, "damaged"))
    assert next(pools).problem == "0"
    with pytest.raises(CheckpointError, match="line 2"):
        next(pools)


def candidates(**fields):
    return {"candidates": [{"text": "a"}, {"text": "b", **fields}]}


@pytest.mark.parametrize(
    ("line", "word"),
    [
        ("hello", "not JSON"),
        ("[1]", "object"),
        ({}, "either `candidates` or `completions`"),
        ({"candidates": [], "completions": []}, "either"),
        ({"candidates": 5}, "candidates=5 must be a list"),
        ({"completions": ["a", 5]}, "candidate 1: text=5 must be text"),
        ({"completions": ["a"], "problem": [1]}, r"problem=\[1\] must be text or a number"),
        ({"completions": ["a"], "gold": True}, "gold=True must be text or a number"),
        ({"completions": ["a"], "prompt": 5}, "prompt=5 must be text"),
        ({"candidates": ["a"]}, "candidate 0: 'a' must be an object"),
        ({"candidates": [{"num_tokens": 5}]}, "candidate 0: it needs at least one of text"),
        (candidates(correct=1), "candidate 1: correct=1 must be true"),
        (candidates(num_tokens=-1), "candidate 1: num_tokens=-1"),
        (candidates(score="high"), "candidate 1: score='high'"),
        (candidates(score=float("nan")), "NaN is no JSON"),
        (candidates(num_tokens=5.5), "candidate 1: num_tokens=5.5"),
        (candidates(num_tokens=2**63), "candidate 1: num_tokens=9223372036854775808"),
        (candidates(score=10**400), "candidate 1: score=1.* must be a finite number"),
        ('{"completions": ["a"], "gold": -Infinity}', "-Infinity is no JSON; write a number"),
        ('{"completions": ["a"], "gold": 1, "gold": 2}', "the key 'gold' is there twice"),
        ('{"candidates": [{"text": "a", "text": "a"}]}', "the key 'text' is there twice"),
        ('{"completions": ' + "[" * 10**5, "nested too deeply"),
        ('{"gold": [' + "[" * 500 + "]" * 501 + ', "completions": []}', "gold="),
        ("[", "each line must hold one whole object: `jq"),
        ('[{"completions": ["a"]}]', "must be a JSON object; each line must hold one"),
        ("\0{\0}", "UTF-16"),
        (candidates(score=1.5), "candidate 1: score=1.5 is no probability"),
    ],
    ids=str,
)
def test_a_line_that_is_not_understood_says_where_and_why(source, line, word):
    write(source, PLAIN, line)
    with pytest.raises(CheckpointError, match=word) as caught:
        list(et.import_pools(source, range="probability"))
    assert str(caught.value).startswith(f"{source}, line 2: ")
    assert "\n" not in str(caught.value)


def test_a_source_that_is_none_is_one_line(source, tmp_path):
    with pytest.raises(CheckpointError, match="No such file"):
        list(et.import_pools(source))
    with pytest.raises(CheckpointError, match="it is empty"):
        list(et.import_pools(write(source)))
    with pytest.raises(CheckpointError, match="no folder that save_to_disk wrote"):
        list(et.import_pools(tmp_path))
    with pytest.raises(ValueError, match="range='percent' must be one of"):
        list(et.import_pools(source, range="percent"))


def test_problems_are_called_by_their_place_or_by_name(source):
    write(source, {"prompt": "a"}, {"prompt": "b", "problem": "x", "gold": 5}, {"prompt": "c"})
    assert read_problems(source) == [
        et.Problem("a", "0"),
        et.Problem("b", "x", "5"),
        et.Problem("c", "2"),
    ]


@pytest.mark.parametrize(
    ("line", "word"),
    [
        ("{", "not JSON"),
        (
            {},
            "no field 'prompt'; the fields there are: none; name the right one with --prompt-field",
        ),
        ({"prompt": None}, "prompt=None must be text"),
        ({"prompt": " "}, "empty"),
        ({"prompt": "a", "question": "b"}, "no field 'question'"),
    ],
    ids=str,
)
def test_a_problem_that_is_not_understood_says_where_and_why(source, line, word):
    with pytest.raises(CheckpointError, match=word) as caught:
        read_problems(write(source, {"prompt": "a"}, line))
    assert str(caught.value).startswith(f"{source}, line 2: ")


@pytest.mark.parametrize(
    "written",
    ["0.00001", "1.0", "1e5", "-0", "1E+400", "12345678901234567890", "7" * 5000, "0.10"],
    ids=lambda written: written[:20],
)
def test_a_number_counts_as_it_is_written(source, written):
    line = f'{{"problem": {written}, "prompt": "a", "gold": {written}, "completions": ["a"]}}'
    (pool,) = et.import_pools(write(source, line))
    assert (pool.problem, pool.gold) == (written, written)
    (problem,) = read_problems(write(source, f'{{"prompt": "a", "gold": {written}}}'))
    assert problem.gold == written


@pytest.mark.parametrize("read", [read_problems, lambda path: list(et.import_pools(path))])
def test_a_byte_order_mark_blank_lines_and_line_ends_of_windows_are_skipped(source, read):
    line = b'{"prompt": "a", "gold": "1"' + (
        b"}" if read is read_problems else b', "completions": []}'
    )
    source.write_bytes(b"\xef\xbb\xbf" + line + b"\r\n\n  \t\r\n " + line + b" \r\n\n\n")
    assert [one.problem for one in read(source)] == ["0", "1"]
    source.write_bytes(line + b"\n\n{}\n")
    with pytest.raises(CheckpointError, match="line 3: "):
        read(source)
    source.write_bytes(b"\xef\xbb\xbf\n")
    with pytest.raises(CheckpointError, match="it is empty"):
        read(source)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_a_file_that_is_not_utf_8_says_what_to_do(source, encoding):
    source.write_bytes('{"prompt": "a"}\n'.encode(encoding))
    with pytest.raises(CheckpointError, match=r"line 1: .* save it as UTF-8"):
        read_problems(source)


# --- what other programs write

TWO = {"choices": [{"message": {"content": text}} for text in ("It is 4.", "5")]}
SAMPLE = {
    "doc_id": 7,
    "doc": {"question": "2 + 2?"},
    "target": "4",
    "arguments": {"gen_args_0": {"arg_0": "Q: 2 + 2?", "arg_1": {"until": ["\n"]}}},
    "resps": [["It is 4.", "5"]],
    "filtered_resps": ["4"],
    "filter": "strict-match",
    "exact_match": 1.0,
}


@pytest.mark.parametrize(
    ("record", "about"),
    [
        (TWO, ("", "0", None, None)),
        (
            {**TWO, "messages": [{"role": "user", "content": "2 + 2?"}], "problem": "p", "gold": 4},
            ("", "p", "4", ({"role": "user", "content": "2 + 2?"},)),
        ),
        (
            {"custom_id": "c", "response": {"status_code": 200, "body": TWO}, "error": None},
            ("", "c", None, None),
        ),
        (SAMPLE, ("Q: 2 + 2?", "7", "4", None)),
        ({**SAMPLE, "arguments": [["Q: 2 + 2?", {}]]}, ("Q: 2 + 2?", "7", "4", None)),
    ],
    ids=["choices", "choices with a problem", "a batch", "lm-eval", "lm-eval of earlier versions"],
)
def test_lines_of_other_programs_become_pools(source, record, about):
    (pool,) = et.import_pools(write(source, record), model="big")
    assert [one.text for one in pool] == ["It is 4.", "5"]
    assert (pool.prompt, pool.problem, pool.gold, pool.messages) == about
    assert pool.settings == {"model": "big"}


def test_a_choice_that_was_cut_off_is_known_to_be(source):
    choice = {"text": "It is", "finish_reason": "length", "token_ids": [3, 5]}
    (pool,) = et.import_pools(write(source, {"choices": [choice], "prompt": "2 + 2?"}))
    assert pool.candidates[0].is_cut_off
    assert (pool.prompt, pool.candidates[0].num_tokens) == ("2 + 2?", 2)


def test_a_sample_of_each_filter_is_one_problem(source):
    others = [{**SAMPLE, "doc_id": 8}, {**SAMPLE, "filter": "flexible-extract"}]
    pools = list(et.import_pools(write(source, SAMPLE, *others)))
    assert [pool.problem for pool in pools] == ["7", "8"]


@pytest.mark.parametrize(
    ("record", "word"),
    [
        ({"choices": []}, "no choices"),
        ({"choices": [{}]}, "neither a message nor a text"),
        ({"custom_id": "c", "response": {"status_code": 500, "body": {}}}, "status 500"),
        ({**SAMPLE, "resps": [["-1.5", "False"], ["-2.5", "True"]]}, "generate text"),
        ({**SAMPLE, "resps": [[["-1.5", "False"]]]}, "generate text"),
        ({**SAMPLE, "resps": []}, "generate text"),
    ],
)
def test_a_line_of_another_program_without_texts_says_so(source, record, word):
    with pytest.raises(CheckpointError, match=f"line 1: .*{word}"):
        list(et.import_pools(write(source, record)))
