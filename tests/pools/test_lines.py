"""The lines of a pool file: code, documentation and JSON Schema name the same fields."""

import json
import re
from pathlib import Path

import pytest

import edifice_tt as et
from edifice_tt.pools.lines import FIELDS, OPTIONAL, check, decode

DOCS = Path(__file__).parents[2] / "docs"
TEXT = (DOCS / "pool-format.md").read_text(encoding="utf-8")
SCHEMA = json.loads((DOCS / "pool.schema.json").read_text(encoding="utf-8"))
EXAMPLES = re.findall(r"```json\n(.*?)\n```", TEXT)


def section(kind):
    return re.split(r"\n##", TEXT.split(f"### `{kind}`\n")[1])[0]


@pytest.mark.parametrize("kind", FIELDS)
def test_code_docs_and_schema_name_the_same_fields(kind):
    documented = re.findall(r"^\| `(\w+)` \|", section(kind), re.MULTILINE)
    published = SCHEMA["$defs"][kind]
    assert documented == list(FIELDS[kind])
    assert list(published["properties"]) == ["kind", *FIELDS[kind]]
    optional = OPTIONAL.get(kind, frozenset())
    assert published["required"] == ["kind", *(n for n in FIELDS[kind] if n not in optional)]


def test_every_kind_is_documented_and_published():
    assert re.findall(r"^### `(\w+)`$", TEXT, re.MULTILINE) == list(FIELDS)
    assert set(SCHEMA["$defs"]) == {*FIELDS, "message"}
    assert [choice["$ref"] for choice in SCHEMA["oneOf"]] == [f"#/$defs/{k}" for k in FIELDS]


def test_the_examples_of_the_docs_are_a_pool_file(tmp_path):
    (tmp_path / "pool").write_text("\n".join(EXAMPLES) + "\n", encoding="utf-8")
    pool = et.Pool.load(tmp_path / "pool")
    assert pool.settings["seed"] == 0
    (candidate,) = pool
    assert (candidate.correct, dict(candidate.scores)) == (True, {"prm": 0.75})
    pool.save(tmp_path / "again")
    again = [json.loads(line) for line in (tmp_path / "again").read_text().splitlines()]
    expected = [json.loads(example) for example in EXAMPLES]
    expected[3]["owner"] = None  # which a pool does not hold
    assert again == expected


def test_the_imported_shapes_of_the_docs_can_be_imported(tmp_path):
    (shapes,) = re.findall(r"```\n(\{.*?)```", TEXT, re.DOTALL)
    (tmp_path / "source").write_text(shapes, encoding="utf-8")
    first, second = et.import_pools(tmp_path / "source")
    assert [c.correct for c in first] == [True]
    assert [c.text for c in second] == ["It is 5.", "6"]


def test_the_settings_of_the_docs_are_those_that_are_written(tiny_lm):
    pool = et.generate(tiny_lm, "q", n=1, max_tokens=1, answer="text")
    for name in pool.settings:
        assert f"`{name}`" in section("pool")
    assert list(json.loads(EXAMPLES[0])["settings"]) == [*pool.settings][:-1]


def bad_lines():
    """Each example with a field missing, one too many, and each field of two wrong types."""
    for example in map(json.loads, EXAMPLES):
        optional = OPTIONAL.get(example["kind"], frozenset())
        yield {**example, "colour": 1}
        for name in example.keys() - {"kind"}:
            if name not in optional:
                yield {key: value for key, value in example.items() if key != name}
            objects, booleans = ("settings", "tally"), ("correct", "early")
            for wrong in (5 if name in objects else {"a": 1}, 7 if name in booleans else True):
                yield {**example, name: wrong}


def test_code_and_schema_accept_and_refuse_the_same_lines():
    validator = pytest.importorskip("jsonschema").Draft202012Validator(SCHEMA)
    for example in map(json.loads, EXAMPLES):
        assert validator.is_valid(example)
    refused = list(bad_lines())
    assert len(refused) > 60
    for line in refused:
        assert not validator.is_valid(line), line
        with pytest.raises(ValueError, match=r"has no field|needs|must be"):
            check(decode(json.dumps(line).encode()))


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda line: json.loads(line)["kind"])
def test_a_key_that_is_there_twice_is_refused(example):
    kind = json.loads(example)["kind"]
    line = example.replace("{", f'{{"kind":"{kind}",', 1)
    with pytest.raises(ValueError, match="the key 'kind' is there twice"):
        decode(line.encode())


@pytest.mark.parametrize(
    "plain", [[[3, 2]], [[0, 1], [0, 1]], [[1, 4]], [[0]], [1, 2], "x", [[-1, 1]], [[0, True]]]
)
def test_plain_places_that_are_not_in_the_prompt_are_refused(plain):
    line = {"kind": "problem", "problem": "0", "prompt": "abc", "gold": None, "plain": plain}
    with pytest.raises(ValueError, match="plain"):
        check(line)


SAID = {"role": "user", "content": "hi"}
CALLS = {"role": "assistant", "tool_calls": [{"id": 1}]}
PARTS = {"role": "user", "content": [{"type": "text", "text": "a", "more": 1}], "name": "x"}
NO_CHATS = [
    *([], {}, "hi", [SAID, None], [[]], ["hi"]),
    *([{"content": "hi"}], [{"role": 1, "content": "hi"}], [{"role": "user"}]),
    *([{"role": "user", "content": 3}], [{"role": "user", "content": None}]),
    *([{"role": "user", "content": ["hi"]}], [{"role": "user", "content": [{"type": "image"}]}]),
    *([{"role": "user", "content": [{"type": "text", "text": 1}]}], [{**CALLS, "tool_calls": []}]),
]


def chat(messages):
    return {"kind": "problem", "problem": "0", "prompt": "", "messages": messages, "gold": None}


@pytest.mark.parametrize("messages", NO_CHATS, ids=str)
def test_code_and_schema_refuse_the_same_messages(messages):
    validator = pytest.importorskip("jsonschema").Draft202012Validator(SCHEMA)
    assert not validator.is_valid(chat(messages))
    with pytest.raises(ValueError, match="must be a list of messages, each with role and content"):
        check(chat(messages))


def test_code_and_schema_take_the_same_messages():
    validator = pytest.importorskip("jsonschema").Draft202012Validator(SCHEMA)
    for messages in (
        [SAID],
        [SAID, CALLS, PARTS],
        [{**CALLS, "content": None}],
        [{**CALLS, **SAID}],
    ):
        assert validator.is_valid(chat(messages))
        assert check(chat(messages)) == "problem"


@pytest.mark.parametrize(
    "wrong",
    [{}, [], {"surprise": [0.5]}, {"entropy": 0.5}, {"entropy": [-0.5]}, {"deepconf": [""]}],
)
def test_code_and_schema_refuse_the_same_confidences(wrong):
    validator = pytest.importorskip("jsonschema").Draft202012Validator(SCHEMA)
    line = {**json.loads(EXAMPLES[2]), "token_ids": [], "num_tokens": 1}
    for confidences in ({"entropy": [0.5]}, {"deepconf": [7], "self_certainty": [0]}):
        assert validator.is_valid({**line, "token_confidences": confidences})
        assert check({**line, "token_confidences": confidences}) == "candidate"
    assert not validator.is_valid({**line, "token_confidences": wrong})
    with pytest.raises(ValueError, match=r"token_confidences=.* must be an object of entropy"):
        check({**line, "token_confidences": wrong})


def test_plain_places_in_the_prompt_are_taken():
    line = {"kind": "problem", "problem": "0", "prompt": "abc", "gold": None, "plain": [[0, 3]]}
    assert check(line) == "problem"
