"""Data sets become pools: a row per problem with lists, or a row per candidate.

`logs/lists.parquet` and `logs/rows.parquet` are by datasets 5.2.0, `Dataset.from_list(...)` and
`to_parquet`: what they hold is what the first two tests expect of them. `logs/saved` is by its
`save_to_disk(..., num_shards=2)`.
"""

import json
import shutil
import warnings
from pathlib import Path

import pytest

import edifice_tt as et
from edifice_tt.contract.errors import CheckpointError, PoolWarning

LOGS = Path(__file__).parent / "logs"
HARD = 'a,"b"\r\n\tc\rd\u2028;e'


@pytest.fixture
def read(tmp_path):
    """Read records as JSON lines, without a warning."""

    def read(*records, **how):
        path = tmp_path / "source.jsonl"
        path.write_text("".join(json.dumps(one) + "\n" for one in records))
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            return list(et.import_pools(path, **how))

    return read


def shown(pool):
    return [(one.text, one.correct, dict(one.scores)) for one in pool]


SUM = [
    ("It is 4.", True, {"rm": 0.9}),
    ("It is 5.", False, {"rm": 0.25}),
    ("4", True, {"rm": 0.5}),
]


def test_a_data_set_with_lists_has_a_problem_per_row():
    with pytest.warns(PoolWarning, match="left out: source$"):
        first, second = et.import_pools(
            LOGS / "lists.parquet", scorer="rm", range="probability", prompt_field="problem"
        )
    assert (first.prompt, first.problem, first.gold) == ("2 + 2?", "0", "4")
    assert (second.prompt, second.problem, second.gold) == ("3 * 3?", "1", "9")
    assert shown(first) == SUM
    assert shown(second) == [("9", True, {"rm": 0.75})]
    assert first.ranges == {"rm": "probability"}


def test_a_data_set_with_a_text_per_row_has_a_candidate_per_row():
    fields = {"prompt_field": "question", "gold_field": "ground_truth"}
    fields |= {"completions_field": "response", "scores_field": "reward"}
    first, second = et.import_pools(LOGS / "rows.parquet", scorer="rm", model="big", **fields)
    assert (first.prompt, first.problem, first.gold) == ("2 + 2?", "0", "4")
    assert (second.prompt, second.problem, second.gold) == ("3 * 3?", "1", "9")
    assert shown(first) == SUM[:2]
    assert [one.index for one in first] == [0, 1]
    assert first.settings == second.settings == {"model": "big"}


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_what_export_wrote_comes_back(tmp_path, kind):
    scores = {"rm": 0.1, "prm": -1e-300}
    first = (
        et.Candidate(0, HARD, (), (), "eos", "7", True, 17, seconds=0.5, scores=scores),
        et.Candidate(3, "", (), (), "length", None, False, 2**62, seconds=1e-7, scores=scores),
    )
    second = (et.Candidate(0, "x", scores={"rm": 1 / 3, "prm": 3.0}),)
    pools = [et.Pool("p" + HARD, first, {}, "one", "7.0"), et.Pool("", second, {}, "2", None)]
    et.write_pools(tmp_path / "pool", pools)
    et.export_pools(tmp_path / "pool", tmp_path / f"x.{kind}", kind)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = list(et.import_pools(tmp_path / f"x.{kind}"))
    assert found == pools
    assert [one.seconds for one in found[0]] == [0.5, 1e-7]


def test_a_scorer_named_score_comes_back_too(tmp_path):
    pool = et.Pool("q", (et.Candidate(0, "x", scores={"score": 0.5, "rm": 2.0}),), problem="p")
    et.write_pools(tmp_path / "pool", [pool])
    et.export_pools(tmp_path / "pool", tmp_path / "x.csv")
    assert list(et.import_pools(tmp_path / "x.csv")) == [pool]


# --- folders and files of Arrow

SAVED = [
    ("2 + 2?", [("It is 4.", None, {"score": 0.75}), ("5", None, {"score": 0.25})]),
    ("3 * 3?", [("9", None, {"score": 0.5})]),
]
SHARD = "data-00000-of-00002.arrow"


def of(path):
    return [(pool.prompt, shown(pool)) for pool in et.import_pools(path)]


@pytest.fixture
def saved(tmp_path):
    return Path(shutil.copytree(LOGS / "saved", tmp_path / "saved"))


def test_a_folder_that_save_to_disk_wrote_is_read_file_by_file(saved, tmp_path):
    assert of(saved) == SAVED
    assert of(saved / SHARD) == SAVED[:1]
    (tmp_path / "all").mkdir()
    (tmp_path / "all" / "dataset_dict.json").write_text('{"splits": ["train"]}')
    shutil.copytree(saved, tmp_path / "all" / "train")
    assert of(tmp_path / "all") == SAVED
    shutil.copytree(saved, tmp_path / "all" / "test")
    with pytest.raises(CheckpointError, match=r"several splits; give .*all/test or .*all/train$"):
        of(tmp_path / "all")


def test_an_arrow_file_is_read_as_a_stream_is(saved, tmp_path):
    ipc = pytest.importorskip("pyarrow.ipc")
    table = ipc.open_stream(saved / SHARD).read_all()
    with ipc.new_file(tmp_path / "x.arrow", table.schema) as file:
        file.write_table(table)
        file.write_table(table)
    assert of(tmp_path / "x.arrow") == SAVED[:1] * 2


def test_a_folder_that_is_none_of_theirs_or_broken_is_one_line(saved, tmp_path):
    with pytest.raises(CheckpointError, match=rf"saved, {SHARD}, row 1: it has no field 'said'"):
        list(et.import_pools(saved, completions_field="said"))
    for state, message in (
        ('{"_data_files": 5}', "it tells of no files"),
        ("{", "it tells of no files"),
        ('{"_data_files": [{"filename": "x"}], "_indices_data_files": [1]}', "flatten_indices"),
        (
            '{"_data_files": [{"filename": "../../x.arrow"}]}',
            "state.json: it names x.arrow, which is not there",
        ),
        ('{"_data_files": []}', "saved: it is empty"),
    ):
        (saved / "state.json").write_text(state)
        with pytest.raises(CheckpointError, match=message):
            of(saved)
    for size in (300, 0):
        (saved / SHARD).write_bytes((saved / SHARD).read_bytes()[:size])
        with pytest.raises(CheckpointError, match=r"not an Arrow file that|is empty"):
            of(saved / SHARD)
    (saved / "state.json").unlink()
    with pytest.raises(CheckpointError, match="is no folder that save_to_disk wrote; give a file"):
        of(saved)


@pytest.mark.parametrize("name", ["completions", "responses", "generations"])
def test_usual_names_of_lists_are_known(read, name):
    record = {"prompt": "q", name: ["a", "b"], "scores": [1, None], "correct": [None, False]}
    (pool,) = read(record)
    assert shown(pool) == [("a", None, {"score": 1.0}), ("b", False, {})]


def test_lists_of_scores_are_those_of_steps(read):
    record = {"prompt": "q", "responses": ["a\n\nb", "c"], "scores": [[0.5, 0.25], [0.75]]}
    (pool,) = read(record, scorer="prm")
    assert [one.scores["prm"] for one in pool] == [0.25, 0.75]
    assert [one.step_scores["prm"] for one in pool] == [(0.5, 0.25), (0.75,)]


def test_a_chat_may_be_in_the_field_of_the_prompt(read):
    chat = [{"role": "user", "content": "2 + 2?"}]
    for record in ({"prompt": chat}, {"asked": chat}, {"messages": chat}):
        how = {"prompt_field": "asked"} if "asked" in record else {}
        (pool,) = read({**record, "responses": ["4"]}, **how)
        assert [*pool.messages] == chat
        assert pool.prompt == ""


def test_ids_that_look_like_questions_are_told(read):
    record = {"problem": "What is 2 + 2?", "answer": "4", "completions": ["4"]}
    with pytest.raises(PoolWarning, match="--prompt-field problem"):
        read(record)
    (pool,) = read(record, prompt_field="problem")
    assert (pool.prompt, pool.problem) == ("What is 2 + 2?", "0")


ROW = {"problem": "p", "index": 0, "text": "a"}
FIELDS = {
    "prompt_field": "q",
    "gold_field": "truth",
    "problem_field": "id",
    "completions_field": "said",
    "scores_field": "reward",
    "correct_field": "ok",
}


def test_every_field_may_have_another_name(read):
    record = {"q": "2?", "truth": 2, "id": 17, "said": ["2"], "reward": [0.5], "ok": [True]}
    (pool,) = read(record, **FIELDS)
    assert (pool.prompt, pool.gold, pool.problem) == ("2?", "2", "17")
    assert shown(pool) == [("2", True, {"score": 0.5})]


@pytest.mark.parametrize("name", FIELDS)
def test_a_field_that_is_not_there_shows_those_there_are_and_the_flag(read, name):
    flag = f"--{name.replace('_', '-')} .{name}= in Python"
    words = f"line 1: it has no field 'x'; the fields there are: said, a; .* {flag}"
    with pytest.raises(CheckpointError, match=words):
        read({"said": ["a"], "a": 1}, **{name: "x"})


@pytest.mark.parametrize(
    ("records", "words"),
    [
        ([{"text": "a", "b": 1}], "fields there are: text, b; .* --completions-field"),
        ([{"responses": ["a", "b"], "scores": [1]}], "scores holds 1 values for 2 completions"),
        ([{"responses": ["a"], "correct": [0]}], "candidate 0: correct=0 must be true, false"),
        ([{"responses": ["a"], "scores": [[0.5, None]]}], "a step without a number"),
        ([{"responses": ["a"], "scores": ["high"]}], "score='high' must be a finite number"),
        ([ROW, {**ROW, "problem": "q"}, {**ROW, "index": 1}], "line 3: .*'p' do not stand togeth"),
        ([ROW, ROW], "line 2: candidate 0 of problem 'p' is there twice"),
        ([{**ROW, "gold": 1}, {**ROW, "gold": 2}], "the right answers '1' and '2'; .*--gold-field"),
        ([{**ROW, "prompt": "a"}, {**ROW, "prompt": "b"}], "ask different questions"),
        ([{**ROW, "correct": "maybe"}], "correct='maybe' must be true"),
        ([{**ROW, "seconds": -1}], "seconds=-1.0 must be 0 or more"),
        ([{**ROW, "index": 0.5}], "index=0.5 must be a whole number"),
        ([{**ROW, "score_rm": "nan"}], "rm='nan' must be a finite number"),
        ([ROW, {"completions": ["a"]}], "line 2: .*each kind a file of its own"),
    ],
    ids=str,
)
def test_a_row_that_is_not_understood_says_where_and_why(read, records, words):
    with pytest.raises(CheckpointError, match=words):
        read(*records)


def test_rows_are_sorted_by_their_index(read):
    (pool,) = read({**ROW, "index": 2, "text": "c"}, {**ROW, "index": 1, "text": "b"})
    assert [(one.index, one.text) for one in pool] == [(1, "b"), (2, "c")]


def test_an_answer_in_a_row_is_the_right_one_unless_gold_is_there(read):
    (pool,) = read({**ROW, "answer": 7})
    assert (pool.gold, pool.candidates[0].answer) == ("7", None)
    (pool,) = read({**ROW, "answer": 7, "gold": 8})
    assert (pool.gold, pool.candidates[0].answer) == ("8", "7")


def test_a_field_that_was_named_is_nothing_else(read):
    rows = [{"problem": "2?", "said": "2", "answer": 0.5}, {"problem": "3?", "said": "3"}]
    how = {"prompt_field": "problem", "completions_field": "said"}
    rows.insert(0, rows[0])
    pools = read(*rows, **how)
    assert [(one.problem, one.prompt, len(one)) for one in pools] == [
        ("0", "2?", 2),
        ("1", "3?", 1),
    ]
    (pool,) = read(rows[0], **how, scores_field="answer")
    assert (pool.gold, shown(pool)) == (None, [("2", None, {"score": 0.5})])


def test_a_log_of_inspect_needs_no_names(tmp_path):
    with pytest.raises(ValueError, match="is a log of Inspect"):
        list(et.import_pools(LOGS / "inspect.json", gold_field="target"))


def test_rows_stream(read, tmp_path):
    """The third row is not looked at before the pool of the first is there."""
    path = tmp_path / "rows.jsonl"
    rows = [ROW, {**ROW, "problem": "q"}, {**ROW, "problem": 5.5, "index": -1}]
    path.write_text("".join(json.dumps(one) + "\n" for one in rows))
    pools = et.import_pools(path)
    assert next(pools).problem == "p"
    with pytest.raises(CheckpointError, match="line 3"):
        next(pools)


def test_an_empty_text_of_a_table_is_an_empty_answer(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text("question,said,ok\nq,,false\nq,4,True\n")
    fields = {"prompt_field": "question", "completions_field": "said", "correct_field": "ok"}
    (pool,) = et.import_pools(path, **fields)
    assert shown(pool) == [("", False, {}), ("4", True, {})]
