import json

import edifice_tt_llm
import llm
import pytest
from click.testing import CliRunner
from llm.cli import cli

import edifice_tt as et
from edifice_tt.testing import tiny_model


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder for llm's log, which takes seconds to make."""
    return tmp_path_factory.mktemp("llm")


@pytest.fixture
def loads(monkeypatch, home):
    """The names under which models were loaded; each is a small one with weights by formula."""
    asked = []

    def load(name, device=None):
        asked.append((name, device))
        return tiny_model(scorer=None)

    monkeypatch.setattr(et, "load_pretrained", load)
    monkeypatch.setenv("LLM_USER_PATH", str(home))
    return asked


@pytest.fixture
def ask(loads):
    def call(*words):
        words = ("-o", "max_tokens", "5", "-o", "n", "3", *words)
        return CliRunner().invoke(cli, ["prompt", "Name a fruit.", *words], catch_exceptions=False)

    return call


def model():
    return llm.get_model("edifice/smollm2-135m")


def test_llm_finds_the_models_by_the_entry_point():
    assert isinstance(model(), edifice_tt_llm.Edifice)
    assert llm.get_model("edifice").name is None


def test_the_answer_is_that_of_the_library(loads):
    response = model().prompt("Name a fruit.", n=5, max_tokens=7, seed=3, temperature=1.0)
    asked = [{"role": "user", "content": "Name a fruit."}]
    lm = tiny_model(scorer=None)
    pool = et.score(lm, et.generate(lm, asked, n=5, max_tokens=7, seed=3, temperature=1.0))
    choice = et.select(pool)
    assert response.text() == choice.text
    assert response.response_json["choice"] == choice.to_dict()
    assert len({one["text"] for one in response.response_json["candidates"]}) > 1
    assert loads == [("smollm2-135m", None)]


@pytest.mark.parametrize(
    ("rule", "options"),
    [("majority", {"cut_off": "vote", "answer": "text"}), ("best_of_n", {}), ("random", {})],
)
def test_a_rule_by_name_chooses(loads, rule, options):
    response = model().prompt("Hm?", n=3, max_tokens=3, rule=rule, **options)
    texts = [one["text"] for one in (response.text() and response.response_json)["candidates"]]
    assert response.text() in texts
    assert response.response_json["choice"]["rule"] == rule


def test_a_conversation_goes_on_with_the_system_prompt_and_loads_once(loads, monkeypatch):
    prompts, generate = [], et.generate

    def note(lm, asked, **options):
        prompts.append(asked)
        return generate(lm, asked, **options)

    monkeypatch.setattr(et, "generate", note)
    talk = model().conversation()
    first = talk.prompt("A?", system="Be short.", n=2, max_tokens=2).text()
    talk.prompt("B?", n=2, max_tokens=2).text()
    assert prompts[1] == [
        {"role": "system", "content": "Be short."},
        {"role": "user", "content": "A?"},
        {"role": "assistant", "content": first},
        {"role": "user", "content": "B?"},
    ]
    assert len(loads) == 1


def test_all_candidates_are_kept_in_a_pool_file_and_in_the_log(ask, tmp_path):
    path = tmp_path / "pool.jsonl"
    done = ask("-m", "edifice/smollm2-135m", "-o", "pool", str(path))
    assert done.exit_code == 0
    pool = et.Pool.load(path)
    assert (len(pool), pool.scorers) == (3, ["logprob"])
    assert done.output == et.select(pool).text + "\n"
    logged = CliRunner().invoke(cli, ["logs", "--json"], catch_exceptions=False)
    (one,) = json.loads(logged.output)
    assert one["output_tokens"] == sum(candidate.num_tokens for candidate in pool)


def test_a_model_of_ones_own_is_named_by_an_option(ask, loads):
    done = ask("-m", "edifice", "-o", "model", "my.gguf", "-o", "device", "CPU")
    assert done.exit_code == 0
    assert loads == [("my.gguf", "CPU")]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("-m", "edifice"), "name one model: -m edifice -o model NAME"),
        (("-m", "edifice/smollm2-135m", "-o", "model", "x"), "name one model"),
        (("-m", "edifice/smollm2-135m", "-o", "rule", "majorty"), "majority"),
        (("-m", "edifice/smollm2-135m", "-o", "scorer", "logprobs"), "logprob"),
        (("-m", "edifice/smollm2-135m", "-o", "answer", "numbr"), "number"),
        (("-m", "edifice/smollm2-135m", "-o", "answer", "text"), "takes no option answer"),
        (("-m", "edifice/smollm2-135m", "-o", "pool", __file__), "exists; give another name"),
        (("-m", "edifice/smollm2-135m", "-o", "n", "0"), "n"),
    ],
)
def test_a_mistake_is_one_line_before_anything_is_sampled(ask, monkeypatch, words, told):
    monkeypatch.setattr(et, "generate", None)
    done = ask(*words)
    assert done.exit_code == 1
    assert done.output.startswith("Error: ")
    assert told in done.output
