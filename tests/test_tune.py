"""The doctor measures the kernels' sizes, keeps what is clearly better, and says what is in use."""

import json

import pytest

from edifice_tt import cli, doctor
from edifice_tt.contract.errors import EdificeError
from edifice_tt.doctor import numbers
from edifice_tt.doctor import tuning as measuring
from edifice_tt.doctor.tuning import CASES, Case, check_sizes, measured, tune
from edifice_tt.nn.cpu import kernels, tuning


@pytest.fixture
def home(monkeypatch, tmp_path):
    """A folder of this test's own, in which nothing was kept; and no turn takes long."""
    monkeypatch.delenv("EDIFICE_TT_TUNED")
    monkeypatch.setenv("EDIFICE_TT_HOME", str(tmp_path))
    monkeypatch.setenv("EDIFICE_TT_PLUGINS", "")
    monkeypatch.setattr(measuring, "ROUNDS", 1)
    monkeypatch.setattr(measuring, "LEAST_S", 0.0)
    monkeypatch.setattr(numbers, "check_numbers", lambda device, say: [])
    tuning._kept_table.cache_clear()
    yield tmp_path / "kernel_sizes.json"
    tuning._kept_table.cache_clear()


def taking(share):
    """A measure: a product takes a second, and with 4096 bytes ahead that share of one."""
    return lambda case, lines: [
        [share if line.far == 4096 and case.size == "far" else 1.0 for line in lines]
        for _ in case.rows
    ]


def test_every_size_has_its_cases_and_every_case_its_size():
    assert {case.size for case in CASES} == set(tuning.CANDIDATES)


@pytest.mark.parametrize(("share", "far"), [(0.96, 4096), (0.98, 8192), (1.0, 8192), (2.0, 8192)])
def test_only_what_is_clearly_better_takes_the_place_of_the_table(home, share, far):
    assert tuning.default_line().far == 8192
    assert tune(measure=taking(share)).line == tuning.default_line()._replace(far=far)
    assert tuning.read().line.far == far


def test_what_is_better_in_one_case_and_worse_in_another_stays_out(home):
    def measure(case, lines):
        share = {"Q8_0": 0.8, "Q4_K_grouped": 1.2}.get(case.kind, 1.0)
        return [[share if line.far == 4096 else 1.0 for line in lines] for _ in case.rows]

    assert tune(measure=measure).line == tuning.default_line()


def test_the_best_of_one_size_is_there_when_the_next_is_measured(home):
    seen = []

    def measure(case, lines):
        seen.append(lines)
        return [[1 / line.tile_rows for line in lines] for _ in case.rows]

    best = max(tuning.CANDIDATES["tile_rows"])
    assert tune(measure=measure).line.tile_rows == best
    assert all(line.tile_rows == best for line in seen[-1])
    assert all(len(set(lines)) == len(lines) for lines in seen)


def test_what_is_ended_early_keeps_what_was_kept_before(home):
    tuning.keep(tuning.default_line()._replace(far=2048))
    before = home.read_bytes()

    def measure(case, lines):
        if case.size == "far":
            raise KeyboardInterrupt
        return taking(1.0)(case, lines)

    with pytest.raises(KeyboardInterrupt):
        tune(measure=measure)
    assert home.read_bytes() == before
    assert list(home.parent.iterdir()) == [home]


SMALL = Case("tile_rows", "F32", (1, 2, 3, 7), 16, 64)


def test_products_are_measured_and_have_the_same_bits(home):
    line = tuning.default_line()
    times = measured(SMALL, [line, line._replace(tile_rows=4)])
    assert [len(seconds) for seconds in times] == [2, 2, 2, 2]
    assert all(second >= 0 for seconds in times for second in seconds)


def test_a_size_that_changes_a_bit_is_an_error_and_nothing_is_kept(home, monkeypatch, capsys):
    """A deliberate mistake in what is compiled with other sizes than the table's."""
    library, right = kernels.library, "a[i][j] += xk[i] * v;"

    def mistaken(*kinds):
        source = library(*kinds)
        assert source.count(right) > 0
        wrong = tuning.table() != tuning.LINES
        return source.replace(right, "a[i][j] += xk[i] * v * 1.0000002f;") if wrong else source

    monkeypatch.setattr(kernels, "library", mistaken)
    line = tuning.default_line()
    with pytest.raises(EdificeError, match=r"other bits with tile_rows=4 than with the table's"):
        measured(SMALL, [line, line._replace(tile_rows=4)])
    monkeypatch.setattr(measuring, "CASES", [SMALL])
    assert cli.main(["doctor", "--tune", "--quick"]) == 2
    assert "has other bits with tile_rows=" in capsys.readouterr().err
    assert not home.exists()


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.size} {case.kind}")
def test_each_case_can_be_measured(home, case):
    """As large as it is: what is fetched ahead may lie behind a weight."""
    line = tuning.default_line()
    sizes = tuning.CANDIDATES[case.size]
    lines = [line, *(line._replace(**{case.size: size}) for size in sizes)]
    assert len(measured(case, lines)) == len(case.rows)


# --- the command


def test_the_command_measures_and_tells_what_is_in_use(home, monkeypatch, capsys):
    monkeypatch.setattr(measuring, "measured", taking(0.5))
    default = tuning.default_line()
    table = f"the table for {default.name}"
    assert f"of {table} (edifice-tt doctor --tune measures)" in check_sizes().found
    assert cli.main(["doctor", "--tune", "--quick", "--device", "CPU", "--json"]) == 0
    checks = {one["name"]: one for one in json.loads(capsys.readouterr().out)["checks"]}
    found = checks["kernel sizes"]["found"]
    assert found.startswith(f"tile_rows={default.tile_rows}, most_rows={default.most_rows}, far=40")
    assert "far=4096, measured on 20" in found
    assert f"far=8192 in {table})" in found
    monkeypatch.setattr(doctor, "tune", lambda **_: pytest.fail("measured again"))
    assert cli.main(["doctor", "--quick", "--device", "CPU"]) == 0
    assert "far=4096" in capsys.readouterr().out
    monkeypatch.setenv("EDIFICE_TT_TUNED", "0")
    assert check_sizes().found.endswith(f"of {table} (EDIFICE_TT_TUNED=0)")


def test_what_was_measured_to_be_the_table_s_is_told_so(home):
    tune(measure=taking(1.0))
    assert check_sizes().found.endswith(f"(as in the table for {tuning.default_line().name})")


def test_a_damaged_file_fails_its_check_and_is_no_warning_beside_it(home, capsys):
    home.write_text("{")
    assert cli.main(["doctor", "--quick", "--device", "CPU", "--json"]) == 1
    out, err = capsys.readouterr()
    failed = [check for check in json.loads(out)["checks"] if check["ok"] is False]
    assert [check["name"] for check in failed] == ["kernel sizes"]
    assert failed[0]["found"] == "the kernels take the sizes of their table"
    assert "doctor --tune measures and writes it anew" in failed[0]["advice"]
    assert "warning" not in err


def test_a_folder_that_cannot_be_written_to_is_told_before_anything_is_measured(home, monkeypatch):
    (file := home.parent / "file").touch()
    monkeypatch.setenv("EDIFICE_TT_HOME", str(file))
    with pytest.raises(EdificeError, match=r"cannot be kept in .*file.* set EDIFICE_TT_HOME"):
        tune(measure=lambda *_: pytest.fail("measured"))


def test_a_cpu_that_compiles_no_c_has_nothing_to_measure(home, monkeypatch):
    monkeypatch.setattr(measuring, "compiles_c", lambda device: False)
    with pytest.raises(EdificeError, match="no kernels to measure; unset DEV"):
        tune(measure=taking(1.0))
