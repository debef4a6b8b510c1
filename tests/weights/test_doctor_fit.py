"""What the doctor says of a model before it is loaded: does it fit, with how many candidates?"""

import pytest
from test_loading_memory import Q4_0, Q8_0, write_model
from tinygrad.nn.state import get_parameters

import edifice_tt as et
from edifice_tt.doctor import machine
from edifice_tt.engine.capacity import Sampling, needed_bytes
from edifice_tt.weights.gguf_model import size_gguf

REORDERED = 256 * 256 // 32 * 18  # bytes of a matrix


@pytest.mark.parametrize("n", [1, 2, 7, 16])
def test_the_number_of_candidates_that_the_doctor_names_fits_and_no_more_would(
    monkeypatch, tmp_path, n
):
    path = write_model(tmp_path / "m.gguf", 259, 256, (Q8_0, Q4_0))
    lm, weights = size_gguf(path, "CPU")

    def needed(candidates):
        task = Sampling(machine.PROMPT, candidates, 63, candidates, ("CPU",))
        return weights + needed_bytes(lm, task)["CPU"]

    loaded = sum(w.nbytes() for w in get_parameters(et.load_pretrained(path, "CPU")))
    assert weights == loaded + 2 * 2 * REORDERED  # of two layers q and k are in the file, too
    monkeypatch.setattr(machine, "available_bytes", lambda device: needed(n))
    most = int(machine.check_fit(str(path), "CPU").found.split("N <= ")[1].split()[0])
    assert most >= n
    assert needed(most) <= needed(n) < needed(most + 1)
    monkeypatch.setattr(machine, "available_bytes", lambda device: needed(1) - 1)
    check = machine.check_fit(str(path), "CPU")
    assert check.ok is False
    assert check.found.endswith("does not fit")
    monkeypatch.setattr(machine, "available_bytes", lambda device: None)
    assert machine.check_fit(str(path), "CPU").ok is None


def test_the_doctor_says_what_is_wrong_with_a_model_that_is_named(tmp_path):
    check = machine.check_fit(str(tmp_path / "none.gguf"), "CPU")
    assert check.ok is False
    assert "none.gguf: there is no such file" in check.found
