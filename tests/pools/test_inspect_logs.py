"""Logs that Inspect wrote become pools, an epoch a candidate.

Those in `logs/` are by inspect_ai 0.3.285 and its `mockllm/model`: two samples ("sum" and one
without an id), `system_message` and `generate`, the scorers `includes` and one of our own whose
number is the length by 16, `epochs=3`. `write_eval_log` wrote them anew without events, results
and arguments; `json` took the blanks out of the one, and the other is cut to one sample.
"""

import json
import sys
import warnings
import zipfile
from importlib import import_module
from pathlib import Path

import pytest

import edifice_tt as et
from edifice_tt.contract.errors import CheckpointError, PoolWarning

LOGS = Path(__file__).parent / "logs"
try:
    READS_ZSTD = sys.version_info >= (3, 14) or bool(import_module("backports.zstd"))
except ModuleNotFoundError:
    READS_ZSTD = False


@pytest.fixture
def log():
    return json.loads((LOGS / "inspect.json").read_text())


@pytest.fixture
def samples(log):
    """The three epochs of "sum"."""
    return [one for one in log["samples"] if one["id"] == "sum"]


@pytest.fixture
def read(tmp_path, log, samples):
    """Read the log with "sum" alone, as it was changed, without a warning."""

    def read(**how):
        log["samples"] = samples
        path = tmp_path / "log.json"
        path.write_text(json.dumps(log))
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            (pool,) = et.import_pools(path, **how)
        return pool

    return read


def as_zip(path, log):
    """The log as an `.eval` of earlier versions, whose compression every Python reads."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for sample in log["samples"]:
            name = f"samples/{sample['id']}_epoch_{sample['epoch']}.json"
            archive.writestr(name, json.dumps(sample))
        rest = {name: value for name, value in log.items() if name != "samples"}
        archive.writestr("header.json", json.dumps(rest))
    return path


def test_an_epoch_is_a_candidate_with_the_scores_of_its_scorers():
    with pytest.warns(PoolWarning, match="several right answers keep the first as gold: 1$"):
        first, second = et.import_pools(LOGS / "inspect.json")
    assert (first.problem, first.gold, second.problem, second.gold) == ("sum", "4", "2", "9")
    assert first.settings == {"model": "mockllm/model", "n": 3}
    assert [dict(one) for one in first.messages] == [
        {"role": "system", "content": "Be short."},
        {"role": "user", "content": "2 + 2?"},
    ]
    assert [(c.index, c.text, c.correct, c.num_tokens, dict(c.scores)) for c in first] == [
        (0, "It is 4.", True, 8, {"includes": 1, "length": 8 / 16}),
        (1, "It is 5.", False, 8, {"includes": 0, "length": 8 / 16}),
        (2, "4, I think.", True, 11, {"includes": 1, "length": 11 / 16}),
    ]
    assert [one.answer for one in first] == ["it is 4.", "it is 5.", "4, i think."]
    assert [(one.text, one.correct, one.is_cut_off) for one in second] == [
        ("9", True, False),
        ("8", False, True),
        ("nine", True, False),
    ]
    assert all(one.seconds > 0 for one in [*first, *second])


def test_a_zip_holds_what_the_json_holds(tmp_path, log):
    path = as_zip(tmp_path / "log.eval", log)
    with pytest.warns(PoolWarning):
        pools = [list(et.import_pools(one)) for one in (path, LOGS / "inspect.json")]
    assert pools[0] == pools[1]
    assert len(pools[0]) == 2


def test_an_imported_log_makes_a_pool_file(tmp_path):
    with pytest.warns(PoolWarning):
        et.write_pools(tmp_path / "pool", et.import_pools(LOGS / "inspect.json"))
    with pytest.warns(PoolWarning):
        assert list(et.read_pools(tmp_path / "pool")) == [*et.import_pools(LOGS / "inspect.json")]


@pytest.mark.skipif(READS_ZSTD, reason="this Python reads zstd")
def test_a_compression_that_cannot_be_read_says_what_to_do():
    with pytest.raises(
        CheckpointError, match=r"zstd: pip install 'edifice-tt\[inspect\]'.*log dum"
    ):
        list(et.import_pools(LOGS / "inspect.eval"))


@pytest.mark.skipif(not READS_ZSTD, reason="zstd needs Python 3.14 or backports.zstd")
def test_a_log_by_zstd_is_read(samples, read):
    (pool,) = et.import_pools(LOGS / "inspect.eval")
    del samples[1:]
    assert pool == read()


def test_a_sample_that_failed_is_missing(log, samples, tmp_path):
    samples[1] |= {"error": {"message": "no"}, "scores": {}, "messages": []}
    log["status"] = "error"
    path = as_zip(tmp_path / "log.eval", {**log, "samples": samples})
    with pytest.warns(PoolWarning, match="in an error were left out: 1; .* status is 'error'"):
        (pool,) = et.import_pools(path)
    assert [one.index for one in pool] == [0, 2]
    assert pool.num_missing == 1
    assert len(pool.messages) == 2


def test_an_evaluation_that_was_killed_has_only_its_journal(log, tmp_path):
    path = tmp_path / "log.eval"
    log["samples"] = log["samples"][1:2]
    as_zip(path, log)
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    members["_journal/start.json"] = members.pop("header.json")
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    (pool,) = et.import_pools(path)
    assert (pool.num_missing, pool.settings["model"]) == (2, "mockllm/model")


@pytest.mark.parametrize(
    ("value", "correct", "score"),
    [
        *(("C", True, 1.0), ("I", False, 0.0), ("N", False, 0.0), ("P", None, 0.5)),
        *((1, True, 1.0), (0.0, False, 0.0), (0.7, None, 0.7), (True, True, 1.0)),
    ],
)
def test_what_a_scorer_says_is_right_is_right(samples, read, value, correct, score):
    for sample in samples:
        sample["scores"] = {"mine": {"value": value}}
    for one in read():
        assert (one.correct, one.answer, dict(one.scores)) == (correct, None, {"mine": score})


def test_a_number_beside_other_scorers_says_nothing_of_what_is_right(samples, read):
    for sample in samples:
        sample["scores"] = {"length": {"value": 1.0}, "width": {"value": 1.0}}
    assert [one.correct for one in read()] == [None] * 3
    assert [one.correct for one in read(scorer="width")] == [True] * 3


def test_a_scorer_that_the_log_lacks_is_refused_with_those_it_has(read):
    with pytest.raises(CheckpointError, match=r"called 'lenght'; .*: includes, length"):
        read(scorer="lenght")


def test_several_values_of_a_scorer_have_names_and_what_is_no_number_is_told(samples, read):
    samples[0]["scores"]["length"]["value"] = {"lines": 3, "words": "I"}
    assert dict(read().candidates[0].scores) == {
        "includes": 1.0,
        "length.lines": 3.0,
        "length.words": 0.0,
    }
    samples[0]["scores"]["length"]["value"] = float("nan")
    with pytest.raises(PoolWarning, match="no finite numbers were left out: 1"):
        read()


def test_thinking_stands_before_the_answer(samples, read):
    parts = [
        {"type": "reasoning", "reasoning": "2 and 2"},
        {"type": "reasoning", "reasoning": "x9f", "redacted": True, "summary": "more"},
        {"type": "text", "text": "It is 4."},
    ]
    samples[0]["output"]["choices"][0]["message"]["content"] = parts
    assert read().candidates[0].text == "<think>\n2 and 2\nmore\n</think>\n\nIt is 4."


def test_log_probabilities_are_kept(samples, read):
    tokens = [{"token": "It", "logprob": -0.5}, {"token": " is", "logprob": -0.25}]
    samples[0]["output"]["choices"][0]["logprobs"] = {"content": tokens}
    assert read().candidates[0].token_logprobs == (-0.5, -0.25)


def test_examples_in_the_question_belong_to_it(samples, read):
    shown = {"role": "assistant", "source": "input", "content": "2"}
    for sample in samples:
        sample["messages"][1:1] = [{"role": "user", "source": "input", "content": "1 + 1?"}, shown]
    assert [one.content for one in read().messages] == ["Be short.", "1 + 1?", "2", "2 + 2?"]


def test_what_a_chat_cannot_hold_is_told(samples, read):
    question = [{"type": "image", "image": "data:"}, {"type": "text", "text": "2 + 2?"}]
    samples[0]["messages"][1]["content"] = question
    with pytest.raises(PoolWarning, match="parts that are no text: 1"):
        read()
    samples[0]["messages"][1]["content"] = "What is 2 + 2?"
    with pytest.raises(PoolWarning, match=r"epochs were asked differently .*: 1"):
        read()


def test_the_range_that_was_declared_is_that_of_all_scores(samples, read):
    assert read(range="probability").ranges == dict.fromkeys(("includes", "length"), "probability")
    samples[2]["scores"]["length"]["value"] = 17
    with pytest.raises(CheckpointError, match=r"'sum', epoch 3: length=17.* is no probability"):
        read(range="probability")


@pytest.mark.parametrize("odd", [None, 5, True, {}, [], "", 10**30, -1])
@pytest.mark.parametrize("field", ["messages", "scores", "target", "working_time", "output"])
def test_a_field_of_another_kind_makes_no_damaged_pool(samples, read, tmp_path, field, odd):
    del samples[0]["output"]["time"]
    samples[0]["output"]["usage"]["output_tokens"] = odd
    samples[0][field] = odd
    samples[1:] = []
    pool = read()
    pool.save(tmp_path / "pool")
    assert et.Pool.load(tmp_path / "pool") == pool


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b'{"version": 2, "status": "success"}', "holds no samples; .*--log-samples"),
        (b'{"version": 2, "status": "success", "samples": [5]}', "'None', epoch None: epoch="),
        (b'{"version": 2, "status": "success"', "no log of Inspect"),
        (b'{"version": 2, "status": "\\ud800"}', "half a character"),
        (b'{"version": 2, "status": ' + b"[" * 10**5, "nested too deeply"),
        (b"PK\x03\x04 and nothing else", "no log of Inspect"),
    ],
)
def test_a_log_that_is_none_is_one_line(tmp_path, content, words):
    path = tmp_path / "log.json"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=words) as caught:
        list(et.import_pools(path))
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_a_zip_of_something_else_and_a_damaged_one_say_so(tmp_path, log):
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("letter.txt", "hello")
    with pytest.raises(CheckpointError, match=r"a zip without samples/ID_epoch_N.json"):
        list(et.import_pools(path))
    content = bytearray(as_zip(path, log).read_bytes())
    content[97:131] = bytes(34)  # inside the first sample
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"samples/2_epoch_1.json cannot be read"):
        list(et.import_pools(path))
