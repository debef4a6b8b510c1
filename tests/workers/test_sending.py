"""What workers are sent becomes the same there: loaded again where a file holds it, else whole."""

import pickle

import numpy as np
import pytest
from judge_models import Tiny
from tinygrad import dtypes

import edifice_tt as et
from edifice_tt.scoring.heads import new_head
from edifice_tt.workers.sending import pack

OPTIONS = {"scorer_hidden": 5, "dropout": 0.5, "seed": 4}


def sent(value):
    return pickle.loads(pack(value))


@pytest.fixture
def saved(tiny_lm, tmp_path):
    return et.save(tiny_lm, tmp_path / "tiny.safetensors") or tmp_path / "tiny.safetensors"


def test_a_model_of_a_file_travels_as_the_name_of_the_file(tmp_path, monkeypatch):
    sizes = {"vocab_size": 259, "hidden_size": 32, "num_layers": 1, "num_heads": 2}
    sizes["ffn_size"] = 64
    et.save(et.build("causal_lm", **sizes), tmp_path / "tiny.safetensors")
    monkeypatch.chdir(tmp_path)
    lm = et.load_pretrained("tiny.safetensors", dtype="float16")
    lm.kv_dtype = "float16"
    monkeypatch.chdir("/")
    assert len(pack(lm)) < 999
    again = sent(lm)
    assert (again.fingerprint, again.name) == (lm.fingerprint, lm.name)
    assert again.kv_dtype == "float16"
    assert again.token_embedding.weight.dtype == dtypes.float16


def test_a_head_that_was_added_to_a_file_is_there_too(tmp_path):
    plain = et.build("causal_lm", vocab_size=5, hidden_size=8, num_layers=1, num_heads=2, seed=3)
    et.save(plain, tmp_path / "plain.safetensors")
    lm = et.load_pretrained(tmp_path / "plain.safetensors", scorer="linear")
    assert sent(lm).fingerprint == lm.fingerprint != plain.fingerprint


def test_a_model_that_is_in_no_file_is_sent_whole(tiny_lm):
    assert tiny_lm.reload is None
    assert sent(tiny_lm).fingerprint == tiny_lm.fingerprint


def test_another_file_and_a_model_that_was_changed_are_refused(saved, tiny_lm):
    lm = et.load_pretrained(saved)
    lm.backbone.final_norm.weight = lm.backbone.final_norm.weight * 2
    with pytest.raises(et.EdificeError, match=r"tiny has the fingerprint .* save that first"):
        sent(lm)


def test_one_model_in_two_places_is_loaded_once(saved):
    lm = et.load_pretrained(saved)
    one, other = sent((lm, [lm]))
    assert one is other[0]


def test_a_verifier_keeps_its_numbers(tiny_lm):
    size = tiny_lm.config.hidden_size
    numbers = np.zeros(size, np.float32), np.ones(size, np.float32)
    head = new_head("mlp", size, OPTIONS)
    verifier = et.Verifier("v", "mlp", OPTIONS, 1, size, tiny_lm.fingerprint, head, *numbers)
    states = [np.arange(size, dtype=np.float32)[None]]
    pool = et.Pool("q", (et.Candidate(0, "one", (3, 5)),))
    again = sent(verifier)
    assert b"UOp" not in pack(verifier), "its id may be another weight's in another process"
    assert again.fingerprint == verifier.fingerprint
    assert again.score_states(pool, states) == verifier.score_states(pool, states)


@pytest.mark.parametrize("ending", ["ForSequenceClassification", "ForProcessRewardModel"])
def test_a_judge_with_a_head_travels_as_the_name_of_its_folder(tmp_path, ending):
    family = "llama" if ending == "ForSequenceClassification" else "qwen2"
    judge = et.load_reward(Tiny(ending, family).write(tmp_path / "judge"))
    size = (tmp_path / "judge" / "model.safetensors").stat().st_size
    again = sent(judge)
    assert len(pack(judge)) < size / 2
    assert (again.fingerprint, again.name) == (judge.fingerprint, judge.name)


def test_what_cannot_be_sent_is_told_at_once():
    with pytest.raises(
        ValueError, match=r"workers cannot be sent this .*give what stands in a mod"
    ):
        pack(lambda prompt, completions: [0.0])

    def of_a_script(prompt, completions):
        return [0.0]

    of_a_script.__module__ = "__main__"
    with pytest.raises(ValueError, match="the program in which of_a_script stands; put it into"):
        pack(of_a_script)
