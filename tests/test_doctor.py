"""The doctor's stored numbers are true, and it tells one illness from another."""

import json
import os
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import numpy_reference as reference
import pytest
from fake_plugins import Site, open_site
from tinygrad import Tensor
from tinygrad.nn.state import get_state_dict

import edifice_tt as et
from edifice_tt import cli, doctor
from edifice_tt.doctor import formulas, machine, numbers, speed
from edifice_tt.sampling.draws import uniform
from edifice_tt.weights import catalog

site = pytest.fixture(open_site, name="site")

EXAMINED = ["self-check", "ties and NaN", "random draws", "decoding"]


def examine(*arguments, **options):
    """The checks by name; nothing but the plugins and the numbers differs between machines."""
    return {check.name: check for check in doctor.diagnose(*arguments, quick=True, **options)}


def failed(checks):
    return [name for name, check in checks.items() if check.ok is False]


@pytest.fixture
def numb(monkeypatch):
    """The numbers are right, and take no time."""
    monkeypatch.setattr(numbers, "check_numbers", lambda device, say: [])


# --- what is stored is true


def test_the_stored_numbers_are_those_of_numpy():
    options = {"hidden_size": 16, "num_layers": 1, "num_heads": 4, "num_kv_heads": 2}
    model = et.build("test_time_compute", embed_dim=6, scorer_hidden=8, **options)
    names = sorted(get_state_dict(model).items())
    weights = {name: formulas.wave(w.shape, seed) for seed, (name, w) in enumerate(names)}
    x = formulas.wave((1, 5, 6), 99)[0]
    _, scores = reference.test_time_compute(x, weights, model.config)
    assert np.abs(formulas.SCORES - scores[:, 0]).max() < 1e-8
    assert np.std(formulas.SCORES) > 1e-2  # positions differ, so a lost position would show


def test_the_stored_draws_are_those_of_the_definition():
    """The 50 most likely tokens, of these the nucleus of 0.9, cut by one uniform number each."""
    logits = formulas.draw_logits().astype(float) / formulas.DRAW_SETTINGS["temperature"]
    order = np.argsort(-logits)[: formulas.DRAW_SETTINGS["top_k"]]
    p = np.exp(logits[order]) / np.exp(logits[order]).sum()
    kept = np.sort(order[: 1 + (p.cumsum() < formulas.DRAW_SETTINGS["top_p"]).sum()])
    weights = np.exp(logits[kept])
    sums = weights.cumsum() / weights.sum()
    seed = formulas.DRAW_SETTINGS["seed"]
    drawn = [[kept[(sums <= uniform(seed, i, p)).sum()] for p in range(4)] for i in range(4)]
    assert np.array(drawn).tolist() == [list(row) for row in formulas.DRAWS]
    assert len(set(np.ravel(drawn))) > 8  # otherwise a draw that is always the same would pass


@pytest.mark.slow
def test_the_default_models_sizes_are_those_of_its_file(smollm2):
    for field in ("vocab_size", "context_length", "hidden_size", "num_layers", "num_heads"):
        assert getattr(machine.SIZES, field) == getattr(smollm2.config, field)
    assert machine.SIZES.num_kv_heads == smollm2.config.num_kv_heads
    assert machine.SIZES.backbone.ffn_size == smollm2.config.backbone.ffn_size


# --- a healthy machine


@pytest.mark.slow
def test_a_healthy_machine_passes(monkeypatch):
    monkeypatch.setenv("EDIFICE_TT_PLUGINS", "")
    said = []
    checks = examine("CPU", say=said.append)
    assert failed(checks) == []
    assert [name for name in checks if name in EXAMINED] == EXAMINED
    assert all(checks[name].ok for name in EXAMINED)
    assert checks["clang"].found.endswith("clang")
    assert checks["device"].found == "CPU, as asked for"
    assert "CPU (float32, float16" in checks["devices"].found
    assert "in float32" in checks["decoding"].found
    assert "in float16" in checks["decoding"].found
    assert "with 16 candidates" in checks["memory"].found
    assert said == ["devices", *(f"{name} on CPU" for name in EXAMINED)]


def test_the_speed_names_its_model_and_the_gain_of_a_batch(monkeypatch, numb):
    """A clock that each draw moves on by a second: 16 steps take as long for any N."""
    monkeypatch.setattr(speed, "_time", lambda lm, rows, tokens: float(tokens - 1) * (2 + rows) / 4)
    found = speed.check_speed("CPU", lambda line: None, has_model=False).found
    assert found == (
        "a model of random weights (4 layers of 256) on CPU: tokens per second 1 at N=1, 3 at N=8, "
        "4 at N=32; 32 together: 2.8 times one"
    )
    monkeypatch.setattr(speed, "LONGEST_S", -1.0)
    found = speed.check_speed("CPU", lambda line: None, has_model=False).found
    assert found.endswith("1 at N=1; not measured, for it takes long here: N=[8, 32]")


def test_eight_candidates_are_measured_on_a_cpu_however_long_the_compiler_took(monkeypatch):
    """There the sizes after the first compile nothing."""
    monkeypatch.setattr(speed, "LONGEST_S", -1.0)
    monkeypatch.setattr(speed, "_time", lambda lm, rows, tokens: 0.25)
    lm = SimpleNamespace(device="CPU")
    assert list(speed.measure(lm, lambda line: None)) == [1, 8, 32]
    monkeypatch.setattr(speed, "in_memory", lambda device: False)
    assert list(speed.measure(lm, lambda line: None)) == [1]


@pytest.mark.slow
def test_the_speed_is_of_tokens_that_were_really_decoded():
    lm = et.build("causal_lm", vocab_size=61, hidden_size=32, num_layers=1, num_heads=2)
    rates = speed.measure(lm, lambda line: None)
    assert list(rates) == [1, 8, 32]
    assert all(rate > 0 for rate in rates.values())


def test_the_command_prints_json_to_paste_and_quick_leaves_out_the_speed(monkeypatch, capsys, numb):
    monkeypatch.setenv("EDIFICE_TT_PLUGINS", "")
    monkeypatch.setattr(speed, "check_speed", lambda *_: speed.Check("speed", "measured"))
    assert cli.main(["doctor", "--json", "--device", "CPU"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["ok"] is True
    names = [check["name"] for check in found["checks"]]
    assert names[:8] == [
        "edifice-tt",
        "python",
        "tinygrad",
        "numpy",
        "pluggy",
        "tokenizers",
        "clang",
        "processor",
    ]
    assert names[-2:] == ["speed", "settings"]
    assert cli.main(["doctor", "--json", "--device", "CPU", "--quick"]) == 0
    assert "speed" not in capsys.readouterr().out


def test_each_check_is_printed_as_soon_as_it_is_made(monkeypatch, capsys):
    def diagnose(*_):
        yield speed.Check("first", "well", True)
        assert "ok    first         well\n" in capsys.readouterr().out
        yield speed.Check("second", "unwell", False, "do this")

    monkeypatch.setattr(doctor, "diagnose", diagnose)
    assert cli.main(["doctor"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "FAIL  second        unwell"
    assert lines[-1] == "second: do this"


# --- each illness, and none for another


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "break_it"),
    [
        ("self-check", ("scores", lambda device: np.array(formulas.SCORES) + 1e-3)),
        ("self-check", ("scores", lambda device: np.array(formulas.SCORES) * float("nan"))),
        ("ties and NaN", ("best_of", lambda columns, device: [2, 2, 0, 0, 0, 1])),
        ("decoding", ("decode_error", lambda device, dtype: 1e-3 * (dtype == "float16"))),
        ("decoding", ("decode_error", lambda device, dtype: float("nan"))),
    ],
)
def test_wrong_numbers_fail_their_check_alone(monkeypatch, name, break_it):
    monkeypatch.setenv("EDIFICE_TT_PLUGINS", "")
    monkeypatch.setattr(numbers, *break_it)
    checks = examine("CPU")
    assert failed(checks) == [name]
    assert checks[name].advice.startswith("this device computes wrong numbers: try another")


@pytest.mark.slow
def test_a_device_whose_weights_are_wrong_is_found_out(monkeypatch):
    """Not the check is changed but what it looks at: the states of reading at once."""
    real = formulas.causal_lm

    def wrong(device, dtype=None):
        model = real(device, dtype)
        read = model.read
        model.read = lambda given, cache=None, part=None: (
            read(given, cache, part) * (1.01 if cache is None else 1)
        )
        return model

    monkeypatch.setattr(formulas, "causal_lm", wrong)
    (check,) = (c for c in numbers.check_numbers("CPU", lambda line: None) if c.name == "decoding")
    assert check.ok is False


@pytest.mark.slow
def test_other_draws_are_told_from_wrong_numbers(monkeypatch):
    monkeypatch.setattr(formulas, "DRAWS", ((1, 2, 3, 4),) * 4)
    checks = {c.name: c for c in numbers.check_numbers("CPU", lambda line: None)}
    assert failed(checks) == ["random draws"]
    assert "this NumPy draws other numbers" in checks["random draws"].advice


@pytest.mark.parametrize(("token", "ok"), [(0, False), (-1, True)])
def test_a_device_that_draws_otherwise_is_told(monkeypatch, token, ok):
    """What it leaves to the host is drawn right."""
    words = Tensor(np.full((16, 7), token, np.int32).view(np.uint32))
    monkeypatch.setattr(numbers, "serves", lambda *_: True)
    monkeypatch.setattr(numbers, "draw", lambda *_: words)
    check = numbers._draws("random draws", "CPU")
    assert check.ok == ok
    assert check.advice == ("" if ok else numbers.WRONG)


@pytest.mark.slow
def test_a_device_that_cannot_run_a_check_fails_it_in_one_line(monkeypatch):
    def broken(device):
        raise OSError("no such\nkernel image")

    monkeypatch.setattr(numbers, "scores", broken)
    check, *_ = numbers.check_numbers("CPU", lambda line: None)
    assert (check.ok, check.found) == (False, "CPU: no such kernel image")
    assert check.advice == "this device cannot run it (OSError): try another --device"


def test_a_device_that_is_not_there_is_named_and_nothing_is_computed(monkeypatch):
    monkeypatch.setenv("EDIFICE_TT_PLUGINS", "")
    monkeypatch.delenv("DEV", raising=False)
    monkeypatch.setattr(numbers, "check_numbers", lambda *_: pytest.fail("computed"))
    checks = examine("METAL")
    assert failed(checks) == ["device"]
    assert "device 'METAL' cannot be opened" in checks["device"].advice
    assert "CPU" in checks["device"].advice.partition("devices here: ")[2]


@pytest.mark.slow
def test_no_compiler_is_told_with_the_command_that_brings_one(monkeypatch, tmp_path):
    """In a process of its own: this one has opened its CPU device."""
    code = (
        "from edifice_tt.machine import toolchain; toolchain.find_clang = lambda: None\n"
        "from edifice_tt.cli import main; raise SystemExit(main(['doctor', '--json']))"
    )
    environment = {"PATH": str(tmp_path), "HOME": str(tmp_path), "DEV": "CPU"}
    environment |= {"EDIFICE_TT_PLUGINS": "", "PYTHONPATH": os.pathsep.join(sys.path)}
    environment["OCL_ICD_VENDORS"] = str(tmp_path)  # an OpenCL driver would be a device
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False
    )
    assert done.returncode == 1, done.stderr
    checks = {check["name"]: check for check in json.loads(done.stdout)["checks"]}
    assert [n for n, c in checks.items() if c["ok"] is False] == ["devices", "device"]
    assert checks["clang"]["found"] == "none"
    assert checks["processor"]["found"] == "not known without a clang that works"
    assert "needs the compiler clang" in checks["device"]["advice"]


def test_a_model_that_is_not_here_is_no_fault_and_is_not_fetched(monkeypatch, numb, tmp_path):
    monkeypatch.setenv("EDIFICE_TT_PLUGINS", "")
    monkeypatch.setenv("EDIFICE_TT_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(catalog, "pull", lambda *_, **__: pytest.fail("downloaded"))
    checks = examine("CPU")
    assert failed(checks) == []
    assert (checks["model"].ok, checks["model"].found) == (None, "smollm2-135m is not here")
    assert checks["model"].advice.endswith("edifice-tt pull smollm2-135m")
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_model_is_a_fault_with_the_command_that_mends_it(monkeypatch, numb, tmp_path):
    monkeypatch.setenv("EDIFICE_TT_PLUGINS", "")
    monkeypatch.setenv("EDIFICE_TT_HOME", str(tmp_path))
    path = catalog.local_path(speed.MODEL)
    path.parent.mkdir(parents=True)
    path.write_bytes(b"GGUF and then nothing")
    checks = examine("CPU")
    assert failed(checks) == ["model"]
    assert checks["model"].advice == "edifice-tt pull smollm2-135m --force fetches it anew"


@pytest.mark.parametrize("kind", ["a file", "a folder in place of the model"])
def test_a_home_for_models_that_cannot_be_one_is_a_fault_that_no_download_mends(
    monkeypatch, numb, tmp_path, kind
):
    monkeypatch.setenv("EDIFICE_TT_PLUGINS", "")
    home = tmp_path / "home"
    monkeypatch.setenv("EDIFICE_TT_HOME", str(home))
    if kind == "a file":
        home.touch()
    else:
        catalog.local_path(speed.MODEL).mkdir(parents=True)
    checks = examine("CPU")
    assert failed(checks) == ["model"]
    assert str(home) in checks["model"].found
    assert checks["model"].advice.startswith("mend it, or set EDIFICE_TT_HOME")


def test_a_broken_plugin_is_a_fault_with_its_owner(site: Site, numb):
    site.install("broken", "raise RuntimeError('no good')")
    checks = examine("CPU")
    assert failed(checks) == ["plugin broken"]
    assert checks["plugin broken"].found == "left out: RuntimeError: no good (broken.py, line 1)"
    assert checks["plugin broken"].advice.startswith("broken 1.0: mend or uninstall it")


@pytest.mark.parametrize(
    ("left", "ok"), [(None, None), (10**12, True), (150_000_000, False), (0, False)]
)
def test_too_little_memory_is_a_fault_and_unknown_is_none(monkeypatch, numb, left, ok):
    monkeypatch.setenv("EDIFICE_TT_PLUGINS", "")
    monkeypatch.setattr(machine, "available_bytes", lambda device: left)
    checks = examine("CPU")
    assert checks["memory"].ok is ok
    assert failed(checks) == ([] if ok in (True, None) else ["memory"])
    assert bool(checks["memory"].advice) is (ok is False)


@pytest.mark.slow
@pytest.mark.parametrize("device", ["CL", "CPU"])
def test_opencl_is_healthy_and_a_cpu_is_beside_it(device):
    """On a machine with an OpenCL driver, PoCL say, CL is tinygrad's default; so one process each.

    The CPU's kernels must run there too, where the default is another device.
    """
    command = [sys.executable, "-m", "edifice_tt", "doctor", "--quick", "--json", "--device"]
    environment = {**os.environ, "EDIFICE_TT_PLUGINS": ""}
    environment.pop("DEV", None)
    found = subprocess.run(
        [sys.executable, "-c", "from tinygrad import Device; print(Device['CL'].device)"],
        capture_output=True,
        env=environment,
        check=False,
    )
    if found.returncode:
        pytest.skip("no OpenCL driver")
    done = subprocess.run(
        [*command, device], capture_output=True, text=True, env=environment, check=False
    )
    found = json.loads(done.stdout)
    assert found["ok"], found
    checks = {check["name"]: check for check in found["checks"]}
    assert checks["device"]["found"] == f"{device}, as asked for"
    assert checks["devices"]["found"].startswith("CL (float32")
    assert all(checks[name]["ok"] for name in EXAMINED)
