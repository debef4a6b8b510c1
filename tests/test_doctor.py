"""The doctor's stored numbers are true, and it tells a sick machine from a healthy one."""

import numpy as np
import numpy_reference as reference
from tinygrad.nn.state import get_state_dict

import edifice_tt as et
from edifice_tt import doctor


def test_the_stored_numbers_are_those_of_numpy():
    options = {"hidden_size": 16, "num_layers": 1, "num_heads": 4, "num_kv_heads": 2}
    model = et.build("test_time_compute", embed_dim=6, scorer_hidden=8, **options)
    names = sorted(get_state_dict(model).items())
    weights = {name: doctor.wave(w.shape, seed) for seed, (name, w) in enumerate(names)}
    _, scores = reference.test_time_compute(doctor.wave((1, 5, 6), 99)[0], weights, model.config)
    assert np.abs(doctor.EXPECTED - scores[:, 0]).max() < 1e-8
    assert np.std(doctor.EXPECTED) > 1e-2  # positions differ, so a lost position would show


def test_a_healthy_machine_passes():
    checks = {check.name: check for check in doctor.diagnose()}
    assert checks["self-check"].ok, checks["self-check"]
    assert checks["clang"].found.endswith("clang")
    assert doctor.passed(list(checks.values()))


def test_wrong_numbers_fail_the_check(monkeypatch):
    monkeypatch.setattr(doctor, "self_check", lambda device: np.array(doctor.EXPECTED) + 1e-3)
    checks = {check.name: check for check in doctor.diagnose()}
    assert checks["self-check"].ok is False
    assert "largest error 1.0e-03" in checks["self-check"].found
    assert not doctor.passed(list(checks.values()))


def test_a_device_that_is_not_there_fails_the_check():
    checks = {check.name: check for check in doctor.diagnose("METAL")}
    assert checks["self-check"].ok is False
    assert "device 'METAL' cannot be opened" in checks["self-check"].advice
