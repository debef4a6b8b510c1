"""Problems as data sets have them: names of fields, common formats, CSV and Parquet."""

import csv
import json
import sys
import warnings

import pytest

import edifice_tt as et
from edifice_tt.contract.errors import CheckpointError, PoolWarning, ToolchainError

GSM8K = [
    {"question": "3 + 4?", "answer": "3 + 4 = <<3+4=7>>7\n#### 7"},
    {"question": "A thousand and one?", "answer": "#### is a mark\n#### 1,001"},
]


def write_lines(path, records):
    path.write_text("".join(json.dumps(one) + "\n" for one in records))
    return path


def write_csv(path, records, delimiter=","):
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, list(records[0]), delimiter=delimiter)
        table.writeheader()
        table.writerows(records)
    return path


def write_parquet(path, records):
    import pyarrow
    import pyarrow.parquet

    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(records), path)
    return path


WRITERS = {
    "jsonl": write_lines,
    "csv": write_csv,
    "tsv": lambda path, records: write_csv(path, records, "\t"),
    "parquet": write_parquet,
}


@pytest.fixture(params=WRITERS)
def write(request, tmp_path):
    """Write records as each kind of file."""
    return lambda records: WRITERS[request.param](tmp_path / f"file.{request.param}", records)


def test_fields_are_called_what_the_file_calls_them(write):
    path = write([{"q": "1, 2\n3?", "a": 7, "name": "one"}, {"q": "4?", "a": 8, "name": "two"}])
    fields = {"prompt_field": "q", "gold_field": "a", "problem_field": "name"}
    assert et.read_problems(path, **fields) == [
        et.Problem("1, 2\n3?", "one", "7"),
        et.Problem("4?", "two", "8"),
    ]


def test_gsm8k_has_its_answer_behind_the_last_mark(write):
    assert et.read_problems(write(GSM8K), format="gsm8k") == [
        et.Problem("3 + 4?", "0", "7"),
        et.Problem("A thousand and one?", "1", "1,001"),
    ]


def test_math_has_its_answer_in_the_last_box(write):
    solution = r"First \boxed{1}, but then \boxed{\frac{1}{2}}."
    path = write([{"problem": "Half?", "solution": solution, "level": "Level 1"}])
    assert et.read_problems(path, format="math") == [et.Problem("Half?", "0", r"\frac{1}{2}")]


def test_math_with_an_answer_of_its_own_takes_that(write):
    path = write([{"problem": "x?", "solution": "long", "answer": "5", "unique_id": "a/1"}])
    assert et.read_problems(path, format="math") == [et.Problem("x?", "a/1", "5")]


MMLU = "Which is red?\nA. sky\nB. blood\nC. 3\n\nAnswer with the letter of the right choice."


def test_mmlu_asks_with_its_choices_and_wants_a_letter(tmp_path):
    one = {"question": "Which is red?", "choices": ["sky", "blood", "3"], "subject": "colours"}
    for name in ("jsonl", "parquet"):
        path = WRITERS[name](tmp_path / f"x.{name}", [{**one, "answer": 1}])
        assert et.read_problems(path, format="mmlu") == [et.Problem(MMLU, "0", "B")]
    path = write_lines(tmp_path / "letter", [{**one, "answer": "C"}])
    assert et.read_problems(path, format="mmlu") == [et.Problem(MMLU, "0", "C")]


def test_mmlu_may_have_a_column_per_choice(tmp_path):
    row = {"question": "Which is red?", "A": "sky", "B": "blood", "C": "3", "answer": "B"}
    path = write_csv(tmp_path / "x.csv", [row])
    assert et.read_problems(path, format="mmlu") == [et.Problem(MMLU, "0", "B")]


def test_programs_have_a_prompt_and_no_right_answer(write):
    row = {"task_id": "T/0", "prompt": "def f():\n", "test": "assert f()", "entry_point": "f"}
    path = write([row])
    assert et.read_problems(path, format="humaneval-like") == [et.Problem("def f():\n", "T/0")]


@pytest.mark.parametrize(
    ("format", "record", "words"),
    [
        ("gsm8k", {"question": "a", "answer": "7"}, "answer='7' has no #### with an answer"),
        ("gsm8k", {"question": "a", "answer": "7 #### "}, "has no #### with an answer"),
        ("gsm8k", {"question": "a", "answer": 7}, "answer=7 must be text that ends in ####"),
        ("math", {"problem": "a", "solution": "7"}, r"has no \\boxed\{\} with an answer"),
        ("mmlu", {"question": "a", "choices": ["x"], "answer": 0}, "list of 2 to 10 texts"),
        ("mmlu", {"question": "a", "choices": [["x"], "y"], "answer": 0}, "list of 2 to 10 texts"),
        ("mmlu", {"question": "a", "answer": 0}, "choices=.* or columns A, B, C"),
        ("mmlu", {"question": "a", "choices": ["x", "y"], "answer": "x"}, "the number of a choice"),
        (
            "gsm8k",
            {"problem": "a", "solution": r"\boxed{b}"},
            "no field 'question'.*--format math reads",
        ),
    ],
    ids=str,
)
def test_a_record_of_another_shape_says_where_and_why(tmp_path, format, record, words):
    path = write_lines(tmp_path / "x", [record])
    with pytest.raises(CheckpointError, match=words) as caught:
        et.read_problems(path, format=format)
    assert str(caught.value).startswith(f"{path}, line 1: ")


def test_a_field_that_is_missing_shows_those_there_are_and_the_flag(write):
    path = write([{"text": "a", "label": "b"}])
    words = "no field 'prompt'; the fields there are: text, label; .* --prompt-field"
    with pytest.raises(CheckpointError, match=words) as caught:
        et.read_problems(path)
    assert "1: " in str(caught.value)
    with pytest.raises(CheckpointError, match=r"no field 'answer'; .* --gold-field"):
        et.read_problems(path, prompt_field="text", gold_field="answer")


@pytest.mark.parametrize(
    ("fields", "format"),
    [
        (("question", "answer"), "gsm8k"),
        (("question", "choices", "answer"), "mmlu"),
        (("problem", "solution"), "math"),
        (("prompt", "test", "entry_point"), "humaneval-like"),
    ],
)
def test_a_file_of_a_known_format_names_it(tmp_path, fields, format):
    record = dict.fromkeys(fields, r"A")
    record |= {"gsm8k": {"answer": "so\n#### 7"}, "math": {"solution": r"\boxed{7}"}}.get(
        format, {}
    )
    path = write_lines(tmp_path / "x", [record])
    with pytest.raises(CheckpointError, match=f"--format {format} reads such a file"):
        et.read_problems(path)


def test_a_format_whose_right_answer_is_not_there_is_not_named(write):
    """A quiz with the fields of GSM8K, whose answers are no solutions."""
    path = write([{"question": "3 + 4?", "answer": "7"}])
    with pytest.raises(CheckpointError, match="name the right one with --prompt-field") as caught:
        et.read_problems(path)
    assert "--format" not in str(caught.value)


def test_a_format_that_is_none_names_the_nearest(tmp_path):
    with pytest.raises(et.UnknownNameError, match="'gsm8'; did you mean 'gsm8k'"):
        et.read_problems(tmp_path, format="gsm8")


def test_fields_that_were_not_asked_for_are_told_once(write):
    path = write([{"q": "a", "x": "1", "y": "2"}, {"q": "b", "x": "3", "y": "4"}])
    with pytest.warns(PoolWarning) as told:
        et.read_problems(path, prompt_field="q")
    assert [str(one.message) for one in told] == [
        f"{path}: fields that were not asked for were left out: x, y"
    ]


# --- messages

CHAT = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "3 + 4?"}]


@pytest.mark.parametrize("name", ["jsonl", "parquet"])
def test_messages_are_a_chat(tmp_path, name):
    path = WRITERS[name](tmp_path / f"x.{name}", [{"messages": CHAT, "gold": "7"}])
    assert et.read_problems(path) == [et.Problem(et.read_problems(path)[0].prompt, "0", "7")]
    assert [*et.read_problems(path)[0].prompt] == CHAT
    path = WRITERS[name](tmp_path / f"y.{name}", [{"talk": CHAT}])
    assert [*et.read_problems(path, prompt_field="talk")[0].prompt] == CHAT


@pytest.mark.parametrize(
    ("record", "words"),
    [
        ({"messages": "hello"}, "messages='hello' must be a list of messages"),
        ({"messages": []}, "there are no messages"),
        ({"messages": [{"from": "human", "value": "a"}]}, "is no message"),
        ({"messages": CHAT, "prompt": "a"}, "it has prompt and messages; give one of them"),
    ],
    ids=str,
)
def test_messages_that_are_none_say_where_and_why(tmp_path, record, words):
    path = write_lines(tmp_path / "x", [{"prompt": "first"}, record])
    with pytest.raises(CheckpointError, match=f"line 2: .*{words}"):
        et.read_problems(path)


# --- tables


def test_a_table_of_excel_is_read(tmp_path):
    """With a byte order mark, line ends of Windows, and quotes around what holds commas."""
    path = tmp_path / "x.csv"
    path.write_bytes('\ufeffprompt,gold\r\n"a, ""b""\r\nc",1.0\r\nd,\r\n'.encode())
    problems = et.read_problems(path)
    assert problems == [et.Problem('a, "b"\r\nc', "0", "1.0"), et.Problem("d", "1")]


def test_a_cell_may_be_longer_than_python_s_own_limit(tmp_path):
    before = csv.field_size_limit()
    path = write_csv(tmp_path / "x.csv", [{"prompt": "long " * before, "gold": "1"}])
    assert len(et.read_problems(path)[0].prompt) == 5 * before
    assert csv.field_size_limit() == before


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"prompt,gold\na\n", "row 1: it has 1 cells, and the header has 2"),
        (b"prompt,prompt\na,b\n", "the column 'prompt' is there twice"),
        (b'prompt\n"a\n', "not a table of CSV"),
        (b"prompt\ncaf\xe9\n", "no UTF-8 text"),
        (b"prompt\n", "it is empty"),
        (b"", "it is empty"),
    ],
)
def test_a_broken_table_is_one_line(tmp_path, content, words):
    path = tmp_path / "x.csv"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=words) as caught:
        et.read_problems(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_numbers_of_parquet_are_written_as_python_writes_them(tmp_path):
    path = write_parquet(tmp_path / "x.parquet", [{"prompt": "a", "gold": x} for x in (0.1, 1e-5)])
    assert [one.gold for one in et.read_problems(path)] == ["0.1", "1e-05"]


def test_parquet_that_is_none_is_one_line(tmp_path):
    path = tmp_path / "x.parquet"
    path.write_bytes(b"PAR1 but nothing else")
    with pytest.raises(CheckpointError, match="not a Parquet file") as caught:
        et.read_problems(path)
    assert "\n" not in str(caught.value)


def test_parquet_without_its_library_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    path = tmp_path / "x.parquet"
    path.write_bytes(b"PAR1")
    with pytest.raises(ToolchainError, match=r"'pyarrow'.*edifice-tt\[parquet\]"):
        et.read_problems(path)


def test_candidates_of_others_may_be_in_parquet(tmp_path):
    path = write_parquet(tmp_path / "x.parquet", [{"prompt": "a", "completions": ["b", "c"]}])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        (pool,) = et.import_pools(path)
    assert [one.text for one in pool] == ["b", "c"]
