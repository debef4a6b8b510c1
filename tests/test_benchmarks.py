"""The benchmarks run, and their page names them all. No figure of theirs is looked at here."""

import json
import re
import runpy
import subprocess
import sys
import time
from pathlib import Path

import pytest
from judge_models import Tiny

FOLDER = Path(__file__).parent.parent / "benchmarks"
PAGE = (FOLDER / "README.md").read_text()
NAMED = re.findall(r"^\| `(\w+\.py)` \|", PAGE, re.MULTILINE)
COMMANDS = re.findall(r"`python (\w+\.py)((?: [^`]*)?)`", PAGE)


def run(script, *options):
    command = [sys.executable, str(FOLDER / script), *options]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_page_names_every_script():
    scripts = {path.name for path in FOLDER.glob("*.py") if "__main__" in path.read_text()}
    assert sorted(NAMED) == sorted(scripts - {"worker.py", "record.py"})  # of which others are made


@pytest.mark.parametrize("script", sorted(set(NAMED) - {"million.py", "exact_statistics.py"}))
def test_a_script_has_the_options_that_the_page_uses(script, monkeypatch, capsys):
    monkeypatch.syspath_prepend(FOLDER)
    monkeypatch.setattr(sys, "argv", [script, "--help"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(FOLDER / script), run_name="__main__")
    for path in FOLDER.iterdir():  # no other test finds what the script imported
        sys.modules.pop(path.stem, None)
    assert ended.value.code == 0
    told = capsys.readouterr().out
    used = [option for name, rest in COMMANDS if name == script for option in rest.split()]
    for option in ["--json", "--quick", *used]:
        assert not option.startswith("-") or option in told


# What scripts without a test of their own are given besides --quick.
PLAIN = {
    "accuracy.py": [],
    "branches.py": ["--rows", "4", "--step", "4"],
    "decode.py": ["--rows", "1", "2"],
    "gpu.py": ["--rows", "1"],
    "growth.py": [],
    "linear.py": [],
    "machine.py": [],
    "prefill.py": ["--tokens", "64"],
    "prefixes.py": ["--upto", "1"],
    "scale.py": [],
    "search.py": ["--rows", "4"],
    "start.py": [],
}


def test_every_script_is_run_by_a_test():
    tested = set(re.findall(r'"(\w+\.py)', Path(__file__).read_text()))
    assert set(NAMED) <= tested


@pytest.mark.slow
@pytest.mark.parametrize("script", PLAIN)
def test_a_script_runs_and_tells_what_it_measured(script):
    rounds = [] if script == "scale.py" else ["--repeats", "1"]
    done = run(script, "--quick", "--json", *rounds, *PLAIN[script])
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)


@pytest.mark.slow
def test_scoring_is_measured_in_rounds_and_every_time_is_told():
    done = run("score.py", "--quick", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    ours = [row for row in told["rows"] if row["subject"] == "edifice_tt"]
    assert [row["case"] for row in ours] == ["batch 1", "batch 16"]
    assert all(len(row["seconds"]) == 2 and min(row["seconds"]) > 0 for row in ours)
    assert told["limits"]


@pytest.mark.slow
def test_draws_are_measured_beside_their_formula():
    done = run("draws.py", "--quick", "--repeats", "1", "--json")
    assert done.returncode == 0, done.stderr
    assert {"edifice_tt", "formula"} < {row["subject"] for row in json.loads(done.stdout)["rows"]}


@pytest.mark.slow
def test_files_with_random_weights_are_loaded_in_every_mix():
    done = run("load.py", "--quick", "--repeats", "1", "--json")
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)["rows"]
    cases = [
        f"tiny {mix}, {to}" for mix in ("Q4_0", "Q8_0", "Q4_K_M") for to in ("float32", "int8")
    ]
    assert [row["case"] for row in rows] == cases
    assert all(row["sampling"] > 0 for row in rows)


@pytest.mark.slow
def test_models_of_random_weights_read_and_decode_in_every_mix():
    done = run("models.py", "--quick", "--repeats", "1", "--mixes", "Q4_K_M", "--json")
    assert done.returncode == 0, done.stderr
    rows = [row for row in json.loads(done.stdout)["rows"] if row["subject"] == "edifice_tt"]
    works, ways = ("512 tokens", "N = 1", "N = 3"), ("float32", "int8")
    assert [row["case"] for row in rows] == [
        f"tiny Q4_K_M, {work}, {way}" for work in works for way in ways
    ]


@pytest.mark.slow
def test_pairs_are_rated_by_every_judge_that_is_named(tmp_path):
    folder = Tiny("ForSequenceClassification").write(tmp_path / "judge")
    judges = ["--judge", str(folder), str(folder)]
    done = run("judges.py", "--quick", "--repeats", "1", "--json", *judges)
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)["rows"]
    assert [row["case"] for row in rows if row["subject"] == "edifice_tt"] == ["judge"] * 2


@pytest.mark.parametrize("script", ["million.py 7 5", "exact_statistics.py 5 7"])
@pytest.mark.slow
def test_pools_of_any_size_are_measured(script):
    done = run(*script.split())
    assert done.returncode == 0, done.stderr
    assert re.search(r"\d", done.stdout)


def keep(file, part, *command, until="inf"):
    return run("record.py", "--until", until, str(file), part, sys.executable, "-c", *command)


MEASURES = f"""
import sys
sys.path.insert(0, {str(FOLDER)!r})
sys.argv[1:] = ["--keep", sys.argv[1], sys.argv[2]]
from timing import Report, arguments
report = Report("t", {{}}, {{}}, arguments("t"))
report.add("one", {{"edifice_tt": [0.5]}})
"""


@pytest.mark.parametrize(
    ("ending", "status"),
    [
        ("raise SystemExit('no')", "failed with 1"),
        ("raise KeyboardInterrupt", "failed with -2"),
        ("import os; os.kill(os.getpid(), 9)", "failed with -9"),
    ],
)
def test_what_was_measured_before_a_part_failed_is_kept(tmp_path, ending, status):
    file = tmp_path / "gpu.json"
    keep(file, "before", "print('{\"a\": 1}')")
    done = keep(file, "part", MEASURES + ending, str(file), "part")
    assert done.returncode != 0
    told = json.loads(file.read_text())
    assert told["before"]["result"] == {"a": 1}
    assert told["part"]["status"] == status
    assert [row["case"] for row in told["part"]["rows"]] == ["one"]
    assert [path.name for path in tmp_path.iterdir()] == ["gpu.json"]


def test_a_part_that_takes_too_long_is_cut_off_and_what_it_measured_is_kept(
    tmp_path, monkeypatch, capfd
):
    """Its time is over as soon as it has measured something."""
    monkeypatch.syspath_prepend(FOLDER)
    import record

    file = tmp_path / "gpu.json"

    class Started(subprocess.Popen):
        waited = False

        def wait(self, timeout=None):
            if self.waited:
                return super().wait(timeout)
            self.waited = True
            while "rows" not in record.read(file).get("part", {}):
                assert self.poll() is None
            raise subprocess.TimeoutExpired(self.args, timeout)

    monkeypatch.setattr(subprocess, "Popen", Started)
    endless = MEASURES + "import time\nwhile True: time.sleep(1)"
    words = [sys.executable, "-c", endless, str(file), "part"]
    assert record.run(file, "part", words, time.time() + 1e6) == 0
    told = record.read(file)["part"]
    assert (told["status"], len(told["rows"])) == ("cut off: out of time", 1)
    assert "KeyboardInterrupt" not in capfd.readouterr().err


def test_a_part_that_has_no_time_left_is_left_out_and_no_failure(tmp_path):
    file = tmp_path / "gpu.json"
    assert keep(file, "part", "raise SystemExit('it ran')", until="1").returncode == 0
    assert json.loads(file.read_text())["part"]["status"] == "left out: no time was left"


@pytest.fixture
def asked(tmp_path):
    """Run `gpu.sh` with a Python that only notes what it is asked, and ends so where `breaks` is.

    Returns the exit status and what was asked of each part: (script, words) by name.
    """
    log, stub = tmp_path / "log", tmp_path / "python"

    def ask(*options, breaks="nothing", status=1):
        stub.write_text(
            f'#!/bin/sh\necho "$@" >> {log}\ncase "$*" in *{breaks}*) exit {status};; esac\n'
        )
        stub.chmod(0o755)
        command = [FOLDER / "gpu.sh", "--python", stub, *options, tmp_path / "gpu.json"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        parts, lines = {}, log.read_text().splitlines()
        for line in lines:
            if "record.py" in line:
                _, _, until, _, name, _, script, *words = line.split()
                parts[name] = (script.removeprefix("benchmarks/"), words, float(until))
        return done.returncode, parts

    return ask


PARTS = ["run", "limits", "parity", "steps", "decode", "prefill", "score", "shaped"]


@pytest.mark.parametrize("options", [[], ["--quick"]], ids=str)
def test_a_gpu_is_asked_for_each_part_and_each_part_gets_its_time(asked, options):
    status, parts = asked(*options)
    assert (status, list(parts)) == (0, PARTS)
    ends = [until for _, _, until in parts.values()]
    assert sorted(ends[1:]) == ends[1:]
    rows = " ".join(parts["decode"][1])
    assert "--rows 1 16 64 256 " in rows


def test_a_gpu_is_timed_for_six_minutes_at_most(asked):
    begun = time.time()
    _, parts = asked()
    assert max(until for _, _, until in parts.values()) <= time.time() + 6 * 60
    assert min(until for _, _, until in parts.values()) > begun


def test_the_other_parts_go_on_where_one_fails(asked):
    status, parts = asked(breaks="decode.py")
    assert (status, list(parts)) == (1, PARTS)


def test_no_part_comes_after_one_that_was_interrupted(asked):
    status, parts = asked(breaks="decode.py", status=130)
    assert (status, list(parts)) == (130, PARTS[:5])


def test_a_file_of_an_earlier_run_is_not_written_over(asked, tmp_path):
    (tmp_path / "gpu.json").write_text("kept")
    done = subprocess.run(
        [FOLDER / "gpu.sh", tmp_path / "gpu.json"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert "exists; name another file" in done.stderr
    assert (tmp_path / "gpu.json").read_text() == "kept"


@pytest.mark.slow
@pytest.mark.parametrize("options", [[], ["--quick"]], ids=str)
def test_a_script_has_the_options_that_a_gpu_is_asked_with(asked, options):
    for script, words, _ in asked(*options)[1].values():
        if script.endswith(".py"):
            path = FOLDER / script if (FOLDER / script).exists() else FOLDER.parent / script
            command = [sys.executable, path, "--help"]
            told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
            assert [word for word in words if word.startswith("--") and word not in told] == []


def test_the_kernel_that_multiplies_so_many_rows_is_named(monkeypatch):
    monkeypatch.syspath_prepend(FOLDER)
    import gpu

    monkeypatch.setattr(gpu, "dialect_of", {"CUDA": "cuda", "METAL": "metal"}.get)
    monkeypatch.setattr(gpu, "has_matrices", lambda device: device == "METAL")
    assert [gpu.way_of("METAL", rows) for rows in (16, 64)] == ["few", "simd"]
    assert [gpu.way_of("CUDA", rows) for rows in (16, 64)] == ["few", "tiles"]
    assert gpu.way_of("CPU", 64) == ""


def test_what_a_gpu_can_do_at_most_is_computed_from_what_its_driver_says(monkeypatch):
    """Of a made-up card: 3 GHz, twice a cycle, 512 bytes; 10 times 128 sums at 1.5 GHz."""
    monkeypatch.syspath_prepend(FOLDER)
    import machine
    from tinygrad.runtime.autogen import cuda

    told = {36: 3_000_000, 37: 4096, 13: 1_500_000, 16: 10, 75: 9, 76: 0}

    def answer(value, what, device):
        value._obj.value = told[what]
        return 0

    monkeypatch.setattr(cuda, "cuInit", lambda flags: 0)
    monkeypatch.setattr(cuda, "cuDeviceGetAttribute", answer)
    assert machine._told_by_cuda() == {machine.BY_CLOCK: 3072, "float32 TFLOPS by its clock": 3.84}
    found = {"copy GB/s": 9999.0, **machine._told_by_cuda()}
    assert machine.memory_limit(found) == 3072
    assert machine.memory_limit({"read GB/s on 1 core": 5.0, "copy GB/s on 1 core": 7.0}) == 7
