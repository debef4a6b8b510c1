"""What workers sample is what one process samples: the same file, whatever came twice or failed."""

from functools import partial

import formula_model
import pytest
from formula_model import OPTIONS, PROBLEMS, FormulaModel
from trials import Here

import edifice_tt as et
from edifice_tt.sampling.generate import make_request
from edifice_tt.sampling.runs import open_run
from edifice_tt.workers import sampling
from edifice_tt.workers.sampling import Loading, sample_by


class Twice(Here):
    """Each result comes twice, as of a worker that ended before it could say that it was done."""

    def map_unordered(self, start, items):
        for result in super().map_unordered(start, items):
            yield from (result, result)


@pytest.fixture(autouse=True)
def _formulas(monkeypatch):
    formula_model.use_formulas(monkeypatch.setattr)
    monkeypatch.setattr(formula_model, "SLOW_S", 0)
    monkeypatch.setattr(FormulaModel, "fingerprint", "f1", raising=False)
    monkeypatch.setattr(sampling, "load_pretrained", lambda *_: FormulaModel())


@pytest.fixture
def whole(tmp_path):
    et.generate_pools(FormulaModel(), PROBLEMS, tmp_path / "whole", **OPTIONS)
    return [*et.read_pools(tmp_path / "whole")]


def fill(path, executor, resume=False, fingerprint="f1", **options):
    told, request = [], make_request(**{**OPTIONS, **options})
    loading = Loading("formula", None, None, "float32", "float32", fingerprint)
    with open_run(FormulaModel(), PROBLEMS, path, request, resume=resume) as run:
        failed = sample_by(executor, run, loading, told.append, lambda candidate: None)
    return failed, told, run.num_made


def in_order(path):
    return sorted(et.read_pools(path), key=lambda pool: pool.problem)


@pytest.mark.parametrize("executor", [Here, Twice])
def test_the_file_is_that_of_one_process_also_where_results_come_twice(tmp_path, whole, executor):
    lines = len(PROBLEMS) * (OPTIONS["n"] + 1) + 1
    assert fill(tmp_path / "pool", executor()) == ({}, [], 15)
    assert len((tmp_path / "pool").read_text().splitlines()) == lines
    assert in_order(tmp_path / "pool") == whole


def test_what_failed_stays_missing_and_is_resumed(tmp_path, whole, monkeypatch):
    def full(lm, problem, *_):
        if problem.problem == "1":
            raise OSError(28, "No space left on device")
        return et_sample(lm, problem, *_)

    et_sample = sampling.sample
    monkeypatch.setattr(sampling, "sample", full)
    failed, told, made = fill(tmp_path / "pool", Here())
    assert (list(failed), told, made) == (["1"], [], 10)
    assert failed["1"].startswith("OSError: [Errno 28] No space left on device (worker on ")
    monkeypatch.setattr(sampling, "sample", et_sample)
    assert fill(tmp_path / "pool", Here(), resume=True) == ({}, [], 5)
    assert in_order(tmp_path / "pool") == whole


def test_a_worker_with_another_model_is_refused_and_nothing_is_written(tmp_path):
    with pytest.raises(
        et.EdificeError, match="formula has the fingerprint f1 here, and the driver"
    ):
        fill(tmp_path / "pool", Here(), fingerprint="f2")
    assert fill(tmp_path / "pool", Here(), resume=True)[2] == 15


def test_a_second_driver_on_one_file_is_refused_before_its_workers_begin(tmp_path):
    begun = []

    class Late(Here):
        def map_unordered(self, start, items):
            begun.append(start)
            with pytest.raises(et.CheckpointError, match="another process is writing"):
                fill(tmp_path / "pool", Here(), resume=True)
            yield from super().map_unordered(start, items)

    assert fill(tmp_path / "pool", Late())[2] == 15
    assert len(begun) == 1


def test_a_model_is_named_from_any_folder(tmp_path, monkeypatch):
    (tmp_path / "model.gguf").touch()
    monkeypatch.chdir(tmp_path)
    of = partial(Loading.of, FormulaModel())
    assert of("model.gguf", device="CPU").model == str(tmp_path / "model.gguf")
    assert of("smollm2-135m").model == "smollm2-135m"
