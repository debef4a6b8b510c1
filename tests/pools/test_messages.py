"""A pool keeps the chat that was asked: as it was given, in every file, for nobody to change."""

import copy
import json
import pickle
from dataclasses import asdict, replace

import pytest

import edifice_tt as et
from edifice_tt.contract.errors import CheckpointError
from edifice_tt.pools.pool import PoolFile
from edifice_tt.pools.writer import PoolWriter

CHAT = [
    {"role": "system", "content": "Be\u2028brief.", "weight": 0.25},
    {"role": "user", "content": [{"type": "text", "text": "2 + 2?"}]},
    {"role": "assistant", "content": None, "tool_calls": [{"name": "add", "arguments": [2, 2]}]},
]
ASKED = et.Pool("<chat>", (et.Candidate(0, "4"),), {"n": 1}, "p", "4", messages=CHAT)
TEXT = replace(ASKED, problem="t", messages=None)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "pool.jsonl"


def as_schema_2(path):
    """The file as it was written before pools kept messages."""
    lines = lines_of(path)
    lines[0]["schema"] = 2
    for line in lines:
        line.pop("messages", None)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def lines_of(path):
    return [json.loads(line) for line in path.read_bytes().split(b"\n")[:-1]]


def test_the_messages_come_back_as_they_were_given(path):
    et.write_pools(path, [ASKED, TEXT])
    assert list(et.read_pools(path)) == [ASKED, TEXT]
    assert [pool.messages for pool in et.read_pools(path)] == [tuple(CHAT), None]
    assert lines_of(path)[1]["messages"] == CHAT
    assert "messages" not in lines_of(path)[3]


def test_a_message_names_its_role_and_its_content():
    assert [(one.role, one.content) for one in ASKED.messages] == [
        ("system", "Be\u2028brief."),
        ("user", [{"type": "text", "text": "2 + 2?"}]),
        ("assistant", None),
    ]


def test_nobody_can_change_a_message():
    given = copy.deepcopy(CHAT)
    pool = replace(ASKED, messages=given)
    given[1]["content"][0]["text"] = "other"
    assert pool.messages == ASKED.messages
    first = pool.messages[0]
    for change in (
        lambda: first.update(role="user"),
        lambda: first.__setitem__("role", "user"),
        lambda: first.__ior__({"role": "user"}),
        lambda: first.pop("role"),
        first.clear,
        first.popitem,
        lambda: first.setdefault("x", 1),
        lambda: first.__delitem__("role"),
    ):
        with pytest.raises(TypeError, match="a message cannot be changed"):
            change()
    assert first == CHAT[0]


def test_messages_are_copied_pickled_and_printed_as_json():
    assert pickle.loads(pickle.dumps(ASKED)) == copy.deepcopy(ASKED) == ASKED
    assert type(pickle.loads(pickle.dumps(ASKED)).messages[0]) is et.Message
    assert json.loads(json.dumps(ASKED.to_dict()))["messages"] == CHAT
    assert TEXT.to_dict()["messages"] is None
    assert asdict(ASKED)["messages"] == tuple(CHAT)


@pytest.mark.parametrize(
    ("messages", "reason"),
    [
        ([], "there are no messages"),
        (["hi"], "'hi' is no message"),
        ([{"role": "user"}], "is no message"),
        ([{"role": "user", "content": "hi", "weight": float("nan")}], "JSON values only"),
        ([{"role": "user", "content": "hi", "tool": object()}], "JSON values only"),
        ([{"role": "user", "content": "\ud800"}], "JSON values only"),
    ],
)
def test_what_is_no_chat_is_refused(messages, reason):
    with pytest.raises(ValueError, match=reason):
        replace(ASKED, messages=messages)


def test_a_file_of_schema_2_is_read_without_messages(path):
    et.write_pools(path, [ASKED, TEXT])
    as_schema_2(path)
    assert list(et.read_pools(path)) == [replace(ASKED, messages=None), TEXT]


def test_a_file_of_schema_2_keeps_its_schema_when_it_is_appended_to(path):
    ASKED.save(path)
    as_schema_2(path)
    before = path.read_bytes()
    with PoolWriter(path) as writer:
        writer.add_candidates(replace(ASKED, problem="q"))
    assert path.read_bytes().startswith(before)
    assert [sorted(line) for line in lines_of(path)[3:4]] == [["gold", "kind", "problem", "prompt"]]
    assert [pool.messages for pool in et.read_pools(path)] == [None, None]


def test_a_file_of_schema_3_keeps_the_messages_when_it_is_appended_to(path):
    ASKED.save(path)
    with PoolWriter(path) as writer:
        writer.add_candidates(replace(ASKED, problem="q"))
    assert [pool.messages for pool in et.read_pools(path)] == [tuple(CHAT)] * 2


def test_merged_files_keep_the_messages_that_only_one_knows(tmp_path):
    old, new, both = tmp_path / "old", tmp_path / "new", tmp_path / "both"
    ASKED.save(new)
    ASKED.save(old)
    as_schema_2(old)
    for files in ([old, new], [new, old]):
        et.merge_pools(files, both)
        assert list(et.read_pools(both)) == [ASKED]
        assert PoolFile(both).schema == 3


def test_different_messages_of_one_problem_are_not_merged(tmp_path):
    ASKED.save(tmp_path / "a")
    replace(ASKED, messages=CHAT[1:]).save(tmp_path / "b")
    with pytest.raises(CheckpointError, match=r"problem 'p' has different messages in .*a, line 2"):
        et.merge_pools([tmp_path / "a", tmp_path / "b"], tmp_path / "c")


def test_messages_are_imported_with_their_numbers(tmp_path):
    source = tmp_path / "source"
    source.write_text(json.dumps({"messages": CHAT, "completions": ["4"]}))
    (pool,) = et.import_pools(source)
    assert pool.messages == tuple(CHAT)
    for wrong in ([], ["hi"], {}, [{"role": "user", "content": 5}]):
        source.write_text(json.dumps({"messages": wrong, "completions": ["4"]}))
        with pytest.raises(CheckpointError, match=r"source, line 1: .*messages?"):
            list(et.import_pools(source))


def test_scores_marks_and_copies_keep_the_messages():
    assert ASKED.with_scores("s", [1.0]).messages == et.grade(ASKED, "number").messages
    assert et.grade(ASKED, "number").messages == tuple(CHAT)
