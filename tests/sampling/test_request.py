"""A request is checked when it is made and stays as it is; a run reads each problem once."""

import dataclasses
from collections import Counter

import formula_model
import pytest
from formula_model import FormulaModel

import edifice_tt as et
from edifice_tt.sampling import generate, runs
from edifice_tt.sampling.generate import make_request
from edifice_tt.sampling.stops import Stops
from edifice_tt.weights.tokenizer import tokenizer


def test_a_request_cannot_be_changed():
    request = make_request(n=3, stop=["x"], template_options={"a": 1})
    with pytest.raises(dataclasses.FrozenInstanceError):
        request.n = 4
    assert (request.n, request.stop, request.template_options) == (3, ("x",), {"a": 1})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n": 0}, "n=0 must be a whole number"),
        ({"max_tokens": 1.5}, "max_tokens=1.5"),
        ({"batch_size": 0}, "batch_size=0"),
        ({"temperature": 0}, "temperature=0 .*n=16 .*the same"),
        ({"top_p": 0}, "top_p=0"),
        ({"seed": -1}, "seed=-1"),
        ({"stop": "abc"}, r"stop='abc' must be a list .*\['abc'\]"),
        ({"answer": "numbr"}, "did you mean 'number'"),
        ({"temprature": 1}, "'temprature'; did you mean 'temperature'"),
    ],
    ids=str,
)
def test_what_cannot_work_makes_no_request(options, message):
    with pytest.raises((ValueError, et.EdificeError), match=message):
        make_request(**options)


CHATS = [et.Problem([{"role": "user", "content": text}], text, "1") for text in "abc"]


@pytest.fixture
def lm(monkeypatch):
    formula_model.use_formulas(monkeypatch.setattr)
    monkeypatch.setattr(formula_model, "SLOW_S", 0)
    return FormulaModel()


@pytest.fixture
def counts(monkeypatch):
    """How often each was called, of a rendering or an encoding with the text."""
    counts = Counter()

    def count(owner, name, key):
        real = getattr(owner, name)

        def counted(*given, **options):
            counts[key(*given)] += 1
            return real(*given, **options)

        monkeypatch.setattr(owner, name, counted)

    count(tokenizer, "render", lambda _, messages, *__: f"render {messages[0]['content']}")
    count(tokenizer.Tokenizer, "encode", lambda _, text: f"encode {text}")
    count(Stops, "of", lambda *_: "stops")
    count(generate, "grader", lambda *_: "grader")
    count(generate, "check_capacity", lambda *_: "memory")
    return counts


def test_a_run_reads_each_prompt_once_also_when_it_is_resumed(lm, counts, tmp_path):
    path, options = tmp_path / "pool", {"n": 2, "max_tokens": 12, "answer": "number"}
    et.generate_pools(lm, CHATS, path, **options)
    prompts = [pool.prompt for pool in et.read_pools(path)]
    once = dict.fromkeys([f"render {one}" for one in "abc"] + [f"encode {p}" for p in prompts], 1)
    # The end of a turn, which is a stop, is found by one rendering of another conversation.
    once |= {"render ?": 1, "stops": 1, "memory": 1}
    assert counts == {**once, "grader": 3}
    whole = path.read_bytes()
    path.write_bytes(b"".join(whole.splitlines(keepends=True)[:-1]))
    counts.clear()
    assert et.generate_pools(lm, CHATS, path, resume=True, **options) == 1
    assert counts == {**once, "grader": 1}


def test_one_prompt_is_read_once_and_what_ends_and_marks_it_is_made_once(lm, counts):
    prompt = et.generate(lm, CHATS[0].prompt, n=2, max_tokens=3, answer="number").prompt
    expected = {"render a", "render ?", f"encode {prompt}", "stops", "grader", "memory"}
    assert counts == dict.fromkeys(expected, 1)


def test_memory_is_asked_for_at_each_length_that_an_answer_can_have(lm, monkeypatch, tmp_path):
    """The context holds 256: behind 250 tokens an answer has 6, behind 40 and 9 it has 20."""
    asked = []
    monkeypatch.setattr(generate, "check_capacity", lambda lm, **sizes: asked.append(sizes))
    problems = [et.Problem("x" * size, str(size)) for size in (9, 250, 40)]
    et.generate_pools(lm, problems, tmp_path / "pool", n=2, max_tokens=20, devices=["CPU"])
    assert [(sizes["prompt"], sizes["tokens"]) for sizes in asked] == [(250, 6), (40, 20)]


def test_a_run_that_does_not_fit_is_refused_before_there_is_a_file(lm, monkeypatch, tmp_path):
    def refuse(*_, **__):
        raise et.EdificeError("sampling needs more than is free")

    monkeypatch.setattr(generate, "check_capacity", refuse)
    with pytest.raises(et.EdificeError, match="more than is free"):
        et.generate_pools(lm, CHATS, tmp_path / "pool", n=2)
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_is_opened_is_closed_when_it_fails(lm, tmp_path):
    path, request = tmp_path / "pool", make_request(n=2, max_tokens=3)
    with pytest.raises(RuntimeError, match="mine"), runs.open_run(lm, CHATS, path, request) as run:
        raise RuntimeError("mine")
    assert run.filling.writer._raw.closed
