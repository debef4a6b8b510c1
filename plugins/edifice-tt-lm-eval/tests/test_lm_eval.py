import importlib.util
import json

import pytest

import edifice_tt as et
from edifice_tt.testing import run_command, tiny_model

needs_lm_eval = pytest.mark.skipif(
    importlib.util.find_spec("lm_eval") is None,
    reason="lm-eval is not installed: pip install 'edifice-tt-lm-eval[lm-eval]'",
)

TASK = """
task: fruits
dataset_path: json
dataset_kwargs:
  data_files: {{test: {data}}}
test_split: test
output_type: generate_until
doc_to_text: "{{{{question}}}}"
doc_to_target: "{{{{answer}}}}"
generation_kwargs: {{until: ["\\n"], do_sample: false, max_gen_toks: 5}}
metric_list: [{{metric: exact_match}}]
"""
DOCS = [{"question": "Red?", "answer": "apple"}, {"question": "Blue?", "answer": "plum"}]


@pytest.fixture
def tasks(tmp_path, monkeypatch):
    """A folder with a task whose data is a local file; the model is small, of formulas."""
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_DATASETS_OFFLINE", "1")

    def load(name, device):
        assert device is None, "lm-eval's own default names a device of torch"
        return tiny_model(scorer=None)

    monkeypatch.setattr(et, "load_pretrained", load)
    data = tmp_path / "fruits.jsonl"
    data.write_text("".join(json.dumps(one) + "\n" for one in DOCS))
    folder = tmp_path / "tasks"
    folder.mkdir()
    (folder / "fruits.yaml").write_text(TASK.format(data=data))
    return folder


@pytest.fixture
def evaluate(tasks):
    """Evaluate in Python; returns the samples. lm-eval's own tasks would take long to find."""

    def call(**options):
        from lm_eval import simple_evaluate
        from lm_eval.tasks import TaskManager

        manager = TaskManager(include_path=str(tasks), include_defaults=False)
        chat = options.pop("apply_chat_template", False)
        results = simple_evaluate(
            "edifice_tt",
            model_args={"pretrained": "tiny", **options},
            tasks=["fruits"],
            task_manager=manager,
            apply_chat_template=chat,
            bootstrap_iters=0,
        )
        return results["samples"]["fruits"]

    pytest.importorskip("edifice_tt_lm_eval.model")
    return call


def sampled(**options):
    """What the library itself chooses for the documents."""
    lm = tiny_model(scorer=None)
    options = {"n": 3, "temperature": 0.8, "max_tokens": 5, "stop": ["\n"], **options}
    for i, doc in enumerate(DOCS):
        yield et.generate(lm, doc["question"], problem=f"fruits/{i}", **options)


@needs_lm_eval
def test_the_command_is_lm_evals_and_its_samples_are_imported(tasks, tmp_path):
    """Its samples hold what was chosen, and the pool file all candidates."""
    pool, again, out = tmp_path / "pool.jsonl", tmp_path / "again.jsonl", tmp_path / "results"
    arguments = f"pretrained=tiny,n=3,rule=majority,cut_off=vote,seed=5,pool={pool}"
    words = ("--include_path", tasks, "--output_path", out, "--log_samples")
    command = ("lm-eval", "run", "--model", "edifice_tt", "--model_args", arguments)
    assert run_command(*command, "--tasks", "fruits", *words) == 0
    (log,) = out.rglob("samples_fruits_*.jsonl")
    made = list(et.read_pools(pool))
    assert [one.candidates for one in made] == [one.candidates for one in sampled(seed=5)]
    assert run_command("import-pool", log, "-o", again) == 0
    imported = list(et.read_pools(again))
    assert [(one.gold, one.prompt) for one in imported] == [("apple", "Red?"), ("plum", "Blue?")]
    chosen = [et.select(one, "majority", cut_off="vote").text for one in made]
    assert [one.candidates[0].text for one in imported] == chosen


@needs_lm_eval
def test_lm_eval_asks_for_the_best_of_n(evaluate):
    samples = evaluate(n=3)
    chosen = [et.select(et.score(None, pool)).text for pool in sampled()]
    assert [one["resps"] for one in samples] == [[[text]] for text in chosen]


@needs_lm_eval
def test_each_repeat_has_draws_of_its_own(evaluate, tasks):
    task = tasks / "fruits.yaml"
    task.write_text(task.read_text() + "repeats: 5\n")
    samples = evaluate(n=1, temperature=1.0)
    assert [len(one["resps"][0]) for one in samples] == [5, 5]
    assert all(len(set(one["resps"][0])) > 1 for one in samples)


@needs_lm_eval
def test_a_chat_is_rendered_by_the_models_template(evaluate):
    first = evaluate(n=2, apply_chat_template=True)[0]
    asked = [{"role": "user", "content": "Red?"}]
    assert first["arguments"][0][0] == tiny_model(scorer=None).tokenizer.chat(asked)


@needs_lm_eval
def test_where_all_abstain_the_answer_is_empty_and_a_warning_counts(evaluate, caplog):
    samples = evaluate(n=2, rule="majority", answer="regex:never")
    assert [one["resps"] for one in samples] == [[[""]], [[""]]]
    assert "2 of 2 problems got an empty answer" in caplog.text


@needs_lm_eval
@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"rule": "majorty"}, "majority"),
        ({"scorer": "logprobs"}, "logprob"),
        ({"answer": "numbr", "rule": "majority"}, "number"),
        ({"answer": "text"}, "takes no option answer"),
    ],
)
def test_a_mistake_is_told_before_a_model_is_loaded(monkeypatch, options, told):
    from edifice_tt_lm_eval.model import EdificeLM

    monkeypatch.setattr(et, "load_pretrained", None)
    with pytest.raises((ValueError, et.EdificeError), match=told):
        EdificeLM("tiny", **options)


@needs_lm_eval
@pytest.mark.parametrize(
    ("mine", "asked", "temperature"),
    [
        ({}, {"do_sample": False, "temperature": 0.0}, 0.8),
        ({}, {"do_sample": True, "temperature": 0.5}, 0.5),
        ({"n": 1}, {"do_sample": False, "temperature": 0.5}, 0.0),
        ({"temperature": 0.25}, {"temperature": 1.0}, 0.25),
    ],
)
def test_the_temperature_is_the_users_else_the_tasks(tasks, mine, asked, temperature):
    from edifice_tt_lm_eval.model import EdificeLM

    options = EdificeLM("tiny", **mine)._options({"until": ".", **asked})
    assert (options["temperature"], options["stop"], options["max_tokens"]) == (
        temperature,
        ["."],
        256,
    )


@needs_lm_eval
def test_what_is_not_known_is_refused(tasks):
    from edifice_tt_lm_eval.model import EdificeLM

    model = EdificeLM("tiny")
    with pytest.raises(ValueError, match="num_beams=4"):
        model._options({"num_beams": 4})
    with pytest.raises(NotImplementedError, match="generates text"):
        model.loglikelihood([])


@pytest.mark.skipif(importlib.util.find_spec("lm_eval") is not None, reason="lm-eval is here")
def test_without_lm_eval_one_line_says_how_to_get_it(capsys):
    assert run_command("lm-eval", "--help") == 2
    assert "lm-eval is not installed; pip install" in capsys.readouterr().err


@needs_lm_eval
def test_hugging_face_datasets_reads_what_export_wrote_and_its_folder_comes_back(tmp_path):
    """lm-eval brings `datasets` with it."""
    import datasets

    scores = {"score": 0.5, "rm": -2.0}
    pools = [
        et.Pool(
            f"{n}?",
            (et.Candidate(0, "a\n", answer="a", correct=True, scores=scores),),
            {},
            f"p{n}",
            "a",
        )
        for n in range(3)
    ]
    et.write_pools(tmp_path / "pool", pools)
    et.export_pools(tmp_path / "pool", tmp_path / "rows.parquet", "parquet")
    rows = datasets.Dataset.from_parquet(str(tmp_path / "rows.parquet"), cache_dir=str(tmp_path))
    assert rows["score_rm"][:] == [-2.0] * 3
    rows.save_to_disk(str(tmp_path / "saved"), num_shards=2)
    assert list(et.import_pools(tmp_path / "saved")) == pools
