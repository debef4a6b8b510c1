import copy
import errno
import io
import json
import math
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from xml.etree import ElementTree

import matplotlib
import numpy as np
import pytest
from edifice_tt_plots import figure
from edifice_tt_plots.panels import shorten, spread
from edifice_tt_plots.reading import read_curve
from matplotlib.colors import to_rgb
from matplotlib.image import imread
from matplotlib.text import Annotation, Text

import edifice_tt as et
from edifice_tt.testing import run_command

SVG = "{http://www.w3.org/2000/svg}"


def rule(label, accuracy, margin=0.07):
    name, _, scorer = label.partition(" · ")
    return {
        "label": label,
        "rule": name,
        "scorer": scorer or None,
        "exact": True,
        "accuracy": accuracy,
        "low": [a - margin for a in accuracy],
        "high": [a + margin for a in accuracy],
        "monte_carlo_error": None,
    }


def scorer(name, reliability, **known):
    return {
        "scorer": name,
        "range": None,
        "auroc_pooled": 0.8125,
        "ece": None,
        "brier": None,
        "reliability": reliability,
        "histogram": {"edges": [0.0, 0.25, 0.5, 1.0], "right": [1, 2, 5], "wrong": [3, 0, 1]},
        **known,
    }


RELIABILITY = [
    {"low": 0.0, "high": 0.5, "count": 7, "mean_score": 0.25, "accuracy": 0.375},
    {"low": 0.5, "high": 0.75, "count": 0, "mean_score": None, "accuracy": None},
    {"low": 0.75, "high": 1.0, "count": 13, "mean_score": 0.875, "accuracy": 0.75},
]
CURVE = {
    "kind": "curve",
    "schema": 1,
    "pool": "pool.jsonl",
    "problems": 41,
    "candidates": 533,
    "level": 0.95,
    "ks": [1, 2, 4, 13],
    "rules": [
        rule("best_of_n · prm", [0.3, 0.4, 0.46, 0.5]),
        rule("majority", [0.3, 0.36, 0.42, 0.44]),
        rule("best_of_n · logprob", [0.3, 0.31, 0.33, 0.32]),
        rule("oracle", [0.3, 0.45, 0.6, 0.8]),
        rule("random", [0.3, 0.3, 0.3, 0.3]),
    ],
    "cost": {"tokens_per_candidate": 431.5, "seconds_per_candidate": None},
    "forecast": {"ks": [32, 64], "coverage": [0.85, 0.9], "alpha": 0.5, "beta": 1.5},
    "scorers": [scorer("prm", RELIABILITY, ece=0.1234), scorer("logprob", [])],
}


def changed(path="", value=None, curve=CURVE):
    """A copy of the curve with another value at `rules.0.low`; `...` takes it out."""
    curve = copy.deepcopy(curve)
    *parents, last = [int(p) if p.isdecimal() else p for p in path.split(".")]
    place = curve
    for parent in parents:
        place = place[parent]
    if value is ...:
        del place[last]
    else:
        place[last] = value
    return curve


def at_one_k(**options):
    curve = changed("ks", [16])
    for one in curve["rules"]:
        one |= {name: one[name][-1:] for name in ("accuracy", "low", "high")}
    return curve | options


def draw(curve=CURVE, style="light", **options):
    with figure.look(style) as palette:
        return figure.draw(read_curve(json.dumps(curve).encode(), "here"), palette, **options)


@pytest.fixture(scope="module")
def whole():
    """The figure of all panels, which no test changes."""
    return draw()


def find(drawn, gid):
    found = drawn.findobj(lambda artist: artist.get_gid() == gid)
    assert len(found) == 1, gid
    return found[0]


def gids(drawn):
    return {artist.get_gid() for artist in drawn.findobj()} - {None}


def titles(drawn):
    return [ax.get_title("left") for ax in drawn.findobj(matplotlib.axes.Axes)]


@pytest.fixture
def plot(tmp_path, capsys, monkeypatch):
    """Run `edifice-tt plot` on a curve; gives the status, standard error and the output's path."""

    monkeypatch.setenv("EDIFICE_TT_PLUGINS", "plots")

    def run(curve, *options, output="out.png"):
        source, path = tmp_path / "curve.json", tmp_path / output
        source.write_bytes(curve if isinstance(curve, bytes) else json.dumps(curve).encode())
        status = run_command("plot", str(source), "-o", str(path), *options)
        return SimpleNamespace(status=status, err=capsys.readouterr().err, path=path)

    return run


def pixels(path):
    return (imread(path)[..., :3] * 255).round().astype(int).reshape(-1, 3)


def rgb(color):
    return [round(255 * part) for part in to_rgb(color)]


@pytest.mark.parametrize("dpi", [50, 90])
def test_a_png_has_the_size_that_was_asked_for_and_the_colours_of_the_rules(plot, dpi):
    done = plot(CURVE, "--dpi", str(dpi), "--what", "curve")
    assert (done.status, done.err) == (0, "")
    inches = draw(what="curve").get_size_inches()
    assert inches[0] == figure.WIDTH
    assert imread(done.path).shape[:2] == (int(inches[1] * dpi), int(inches[0] * dpi))
    seen = pixels(done.path).tolist()
    light = figure.PALETTES["light"]
    assert all(rgb(color) in seen for color in (light.paper, *light.lines[:3]))


def test_the_dark_style_has_dark_paper_and_light_ink(plot):
    done = plot(CURVE, "--style", "dark", "--dpi", "50")
    values, counts = np.unique(pixels(done.path), axis=0, return_counts=True)
    assert values[counts.argmax()].tolist() == rgb("#15181d")
    assert values.max() > 200


def test_an_svg_has_a_line_and_a_label_for_each_rule(plot):
    done = plot(CURVE, output="out.svg")
    assert (done.status, done.err) == (0, "")
    root = ElementTree.parse(done.path).getroot()
    assert root.tag == f"{SVG}svg"
    ids = [element.get("id") for element in root.iter() if element.get("id")]
    for i in range(5):
        assert ids.count(f"rule-{i}") == ids.count(f"band-{i}") == 1
    assert "rule-5" not in ids
    assert {"forecast", "right-0", "wrong-0", "right-1", "wrong-1", "reliability-0"} <= set(ids)
    texts = ["".join(element.itertext()).strip() for element in root.iter(f"{SVG}text")]
    for one in CURVE["rules"]:
        assert texts.count(one["label"]) == 1
    assert {"pool.jsonl", "accuracy", "candidates, k", "oracle, forecast"} <= set(texts)


def test_the_format_may_be_named_and_a_suffix_may_be_in_capitals(plot):
    done = plot(CURVE, "--format", "svg", "--what", "curve", output="figure")
    assert ElementTree.parse(done.path).getroot().tag == f"{SVG}svg"
    assert plot(CURVE, "--what", "curve", output="OUT.PNG").path.read_bytes()[1:4] == b"PNG"


def test_standard_input_gives_the_same_file(plot, tmp_path, monkeypatch):
    from_file = plot(CURVE, "--what", "curve", output="out.svg").path.read_bytes()
    pipe = io.TextIOWrapper(io.BytesIO(json.dumps(CURVE).encode()))
    monkeypatch.setattr(sys, "stdin", pipe)
    path = tmp_path / "other.svg"
    assert run_command("plot", "-", "-o", str(path), "--what", "curve") == 0
    assert path.read_bytes() == from_file


@pytest.mark.parametrize("output", ["out.png", "out.svg"])
def test_the_same_curve_gives_the_same_bytes_whatever_the_settings_of_matplotlib(plot, output):
    first = plot(CURVE, "--dpi", "50", output=output).path.read_bytes()
    with matplotlib.rc_context({"font.size": 20, "lines.linewidth": 5, "savefig.bbox": "tight"}):
        second = plot(CURVE, "--dpi", "50", output=output).path.read_bytes()
        assert matplotlib.rcParams["font.size"] == 20  # the caller's settings come back
    assert first == second
    assert b"Matplotlib" not in first
    other = changed("rules.0.accuracy.3", 0.51)
    assert plot(other, "--dpi", "50", output=output).path.read_bytes() != first


def test_the_data_of_lines_and_bands_are_those_of_the_json(whole):
    drawn = whole
    for i, one in enumerate(CURVE["rules"]):
        line = find(drawn, f"rule-{i}")
        assert line.get_xdata().tolist() == CURVE["ks"]
        assert line.get_ydata().tolist() == one["accuracy"]
        corners = {tuple(corner) for corner in find(drawn, f"band-{i}").get_paths()[0].vertices}
        for bound in ("low", "high"):
            assert set(zip(CURVE["ks"], one[bound], strict=True)) <= corners


def test_the_axis_is_logarithmic_with_the_ks_as_ticks(whole):
    ax = draw(what="curve", curve=changed("forecast")).axes[0]
    assert (ax.get_xscale(), ax.xaxis.get_transform().base) == ("log", 2)
    assert ax.get_xticks().tolist() == CURVE["ks"]
    assert [label.get_text() for label in ax.get_xticklabels()] == ["1", "2", "4", "13"]
    assert "41 problems, 533 candidates; bands: 95% intervals" in titles(whole)


def test_baselines_are_grey_and_dashed_and_every_other_rule_has_its_own_look(whole):
    drawn, grey = whole, figure.PALETTES["light"].grey
    lines = [find(drawn, f"rule-{i}") for i in range(5)]
    assert [line.get_linestyle() for line in lines] == ["-", "-", "-", "--", "-."]
    assert [line.get_color() == grey for line in lines] == [False] * 3 + [True] * 2
    assert len({(line.get_color(), line.get_marker()) for line in lines[:3]}) == 3


def test_an_unknown_accuracy_leaves_a_gap():
    line = find(draw(changed("rules.1.accuracy.1"), what="curve"), "rule-1")
    assert np.isnan(line.get_ydata()).tolist() == [False, True, False, False]


def test_tokens_are_k_times_the_mean_cost():
    drawn = draw(x="tokens", what="curve")
    assert find(drawn, "rule-0").get_xdata().tolist() == [431.5, 863.0, 1726.0, 5609.5]
    assert find(drawn, "forecast").get_xdata().tolist() == [13808.0, 27616.0]
    assert drawn.axes[0].get_xticklabels()[0].get_text() == "432"


def test_the_forecast_is_dotted_and_only_its_own_numbers(whole):
    line = find(whole, "forecast")
    assert line.get_linestyle() == ":"
    assert line.get_xdata().tolist() == [32, 64]
    assert line.get_ydata().tolist() == [0.85, 0.9]
    assert "forecast" not in gids(draw(changed("forecast"), what="curve"))


def test_one_k_gives_a_row_for_each_rule():
    drawn = draw(at_one_k(), what="curve")
    ax = drawn.axes[0]
    labels = [label.get_text() for label in ax.get_yticklabels()]
    assert labels[:5] == [one["label"] for one in CURVE["rules"]]
    assert labels[5:] == ["oracle, forecast, k = 32", "oracle, forecast, k = 64"]
    for i, one in enumerate(CURVE["rules"]):
        point = find(drawn, f"rule-{i}")
        assert (point.get_xdata()[0], point.get_ydata()[0]) == (one["accuracy"][-1], i)
        ends = find(drawn, f"band-{i}").get_xdata().tolist()
        assert ends == [one["low"][-1], one["high"][-1]]
    assert ax.get_xlabel() == "accuracy at k = 16"


def test_histograms_are_shares_of_right_and_of_wrong():
    drawn = draw(what="histogram")
    assert find(drawn, "right-0").get_data().values.tolist() == [0.125, 0.25, 0.625]
    assert find(drawn, "wrong-0").get_data().values.tolist() == [0.75, 0.0, 0.25]
    assert find(drawn, "right-0").get_data().edges.tolist() == [0.0, 0.25, 0.5, 1.0]
    legend = [text.get_text() for text in drawn.axes[0].get_legend().get_texts()]
    assert legend == ["right (8)", "wrong (4)"]
    assert titles(drawn) == ["prm: AUROC 0.812", "logprob: AUROC 0.812"]


def test_reliability_shows_points_counts_and_the_ece():
    drawn = draw(what="calibration")
    line = find(drawn, "reliability-0")
    np.testing.assert_array_equal(line.get_xdata(), [0.25, math.nan, 0.875])
    np.testing.assert_array_equal(line.get_ydata(), [0.375, math.nan, 0.75])
    assert "prm: calibration, ECE 0.123" in titles(drawn)
    bars = drawn.axes[0].child_axes[0].patches
    assert [(bar.get_x(), bar.get_width(), bar.get_height()) for bar in bars] == [
        (0.0, 0.5, 7),
        (0.5, 0.25, 0),
        (0.75, 0.25, 13),
    ]
    assert [text.get_text() for text in drawn.axes[0].child_axes[0].texts] == ["7", "0", "13"]


def test_a_figure_has_as_many_panels_as_there_is_data_for(whole):
    assert len(whole.axes) == 4  # the curve, two histograms, one reliability diagram
    unlabelled = changed("scorers.0.histogram", {"edges": [0, 1], "right": [0], "wrong": [0]})
    assert len(draw(unlabelled).axes) == 3
    assert len(draw(changed("scorers", [])).axes) == 1


def test_one_scorer_keeps_its_rules_and_those_without_a_scorer(whole):
    drawn = draw(scorer="logprob")
    assert {"rule-1", "rule-2", "rule-3", "rule-4", "right-1"} <= gids(drawn)
    assert not {"rule-0", "right-0", "reliability-0"} & gids(drawn)
    assert find(drawn, "rule-2").get_color() == find(whole, "rule-2").get_color()


def test_the_title_is_the_one_given_else_the_pools_name(whole):
    assert whole.get_suptitle() == "pool.jsonl"
    assert draw(title="Mine", what="curve").get_suptitle() == "Mine"
    assert max(map(len, draw(title="long " * 40, what="curve").get_suptitle().splitlines())) <= 76


CROWD = [rule(f"weighted_logit · a-scorer-of-a-long-name-{i}", [0.3, 0.4, 0.45, 0.5]) for i in "12"]
CROWD = changed("rules", [*CURVE["rules"], *CROWD, *CROWD])
THIRTY = changed("rules", CURVE["rules"] * 6, changed("scorers", []))
EVERY_K = changed("ks", list(range(1, 65)), changed("forecast"))
for one in EVERY_K["rules"]:
    rising = np.linspace(0.3, one["accuracy"][-1], 64).tolist()
    one |= {"accuracy": rising, "low": rising, "high": rising}


def texts_drawn(drawn):
    """Each text with its box; ticks beyond the view are there but not drawn."""
    beyond = set()
    for axis in drawn.findobj(matplotlib.axis.Axis):
        low, high = sorted(axis.get_view_interval())
        for tick in axis.get_major_ticks():
            if not low - 1e-9 <= tick.get_loc() <= high + 1e-9:
                beyond.add(id(tick.label1))
    for text in drawn.findobj(Text):
        if text.get_text() and text.get_visible() and id(text) not in beyond:
            yield text.get_text(), Text.get_window_extent(text)  # an Annotation's has its arrow


@pytest.mark.parametrize("curve", [CURVE, CROWD, THIRTY, EVERY_K, at_one_k()])
def test_no_text_covers_another_or_is_cut_off(curve):
    with figure.look():
        drawn = draw(curve, title="A title " * 15)
        for dpi in (50, 150):
            drawn.set_dpi(dpi)
            drawn.draw_without_rendering()
            edge, boxes = drawn.bbox, list(texts_drawn(drawn))
            assert {shorten(one["label"]) for one in curve["rules"]} <= set(dict(boxes))
            for i, (text, box) in enumerate(boxes):
                assert edge.x0 <= box.x0 <= box.x1 <= edge.x1, text
                assert edge.y0 <= box.y0 <= box.y1 <= edge.y1, text
                for other, its in boxes[:i]:
                    assert not box.padded(-1).overlaps(its), (text, other)


def test_the_layout_is_the_same_in_every_format_and_at_every_dpi():
    with figure.look():
        drawn = draw()
        before = [ax.get_position().bounds for ax in drawn.axes]
        for kind, dpi in (("svg", 150), ("png", 40)):
            figure.render(drawn, kind, dpi)
            assert [ax.get_position().bounds for ax in drawn.axes] == before


def test_each_label_is_joined_to_the_end_of_its_own_line():
    drawn = draw(CROWD, what="curve")
    notes = drawn.findobj(lambda artist: isinstance(artist, Annotation) and artist.arrow_patch)
    ends = {(note.get_text(), note.xy) for note in notes}
    assert ends >= {(shorten(one["label"]), (13, one["accuracy"][-1])) for one in CROWD["rules"]}


def test_labels_are_text_and_not_mathematics_or_markup(plot):
    label = "majority · $x_1$ <&> \\frac\x00\ud800"
    done = plot(changed("rules.1.label", label), "--what", "curve", output="out.svg")
    assert (done.status, done.err) == (0, "")
    texts = {"".join(e.itertext()) for e in ElementTree.parse(done.path).iter(f"{SVG}text")}
    assert "majority · $x_1$ <&> \\frac  " in texts


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ([1, 5, 8], [1, 5, 8]),
        ([5, 5], [4, 6]),
        ([0, 0, 0], [0, 2, 4]),  # pushed up from the lower edge
        ([10, 10], [8, 10]),
        ([1, 4, 5, 6], [1, 3, 5, 7]),
    ],
)
def test_labels_move_as_little_as_parting_them_takes(wanted, expected):
    assert spread(wanted, 2, 0, 10) == pytest.approx(expected)


BAD = [
    (b"{'kind'", "not JSON (Expecting property name"),
    (b'{"kind": "pool"}\n{"kind": "problem"}', "not JSON (Extra data: line 2"),
    (b"\xff\xfe\x00", "not JSON ("),
    (b"[" * 100_000, "not JSON (nested too deeply)"),
    (b"[]", "not a curve: kind is None, expected 'curve'; make one with edifice-tt curve"),
    (changed("kind", "pool"), "not a curve: kind is 'pool'"),
    (changed("schema", 2), "schema is 2, expected 1"),
    (changed("rules", ...), "the curve has no 'rules'"),
    (changed("rules.1.low", ...), "rules[1] has no 'low'"),
    (changed("rules", []), "rules is empty"),
    (changed("ks", []), "ks is [], expected increasing"),
    (changed("ks", [0, 1, 2, 4]), "ks is [0, 1, 2, 4], expected increasing numbers from 1 on"),
    (changed("ks", [1, 4, 4, 8]), "expected increasing numbers"),
    (changed("ks", [1, 2, 4, True]), "ks[3] is True, expected a whole number"),
    (changed("rules.0.high", [0.5]), "rules[0].high has 1 items, expected 4"),
    (changed("rules.2.accuracy.3", "0.5"), "rules[2].accuracy[3] is '0.5', expected a number"),
    (changed("rules.2.accuracy.3", math.nan), "is nan, expected a finite number"),
    (changed("level", 10**400), "expected a finite number"),
    (changed("forecast.coverage", [0.9]), "forecast.coverage has 1 items, expected 2"),
    (changed("scorers.0.histogram.wrong", [1]), "histogram.wrong has 1 items, expected 3"),
    (changed("scorers.0.histogram.edges", [0, 1, 1, 2]), "edges do not increase"),
    (changed("scorers.0.reliability.0.count"), "reliability[0].count is None, expected a whole"),
    (changed("cost", 3), "cost is 3, expected an object"),
]


@pytest.mark.parametrize(("curve", "message"), BAD)
def test_what_is_no_curve_is_one_line_and_nothing_is_written(plot, curve, message):
    done = plot(curve)
    assert done.status == 2
    assert message in done.err
    assert done.err.startswith("edifice-tt: error: ")
    assert done.err.count("\n") == 1
    assert [path.name for path in done.path.parent.iterdir()] == ["curve.json"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--scorer", "pmr"], "unknown scorer 'pmr'; did you mean 'prm'? Known: logprob, prm"),
        (["--x", "seconds"], "cost.seconds_per_candidate is null, expected a cost; use --x k"),
        (["--x", "tokens", "--what", "histogram"], "--what histogram draws none"),
        (["--what", "calibration", "--scorer", "logprob"], "whose every score lies in [0, 1]"),
    ],
)
def test_what_cannot_be_drawn_is_one_line_and_an_old_file_stays(plot, tmp_path, options, message):
    (tmp_path / "out.png").write_bytes(b"old")
    done = plot(CURVE, *options)
    assert (done.status, done.err.count("\n")) == (2, 1)
    assert message in done.err
    assert done.path.read_bytes() == b"old"
    assert len(list(tmp_path.iterdir())) == 2


def test_an_output_that_cannot_be_written_is_one_line(plot, tmp_path):
    assert "expected a name in .png or .svg" in plot(CURVE, output="out.pdf").err
    missing = plot(CURVE, output="nowhere/out.png")
    assert missing.status == 2
    assert missing.err == f"edifice-tt: error: {missing.path}: No such file or directory\n"
    (tmp_path / "folder.png").mkdir()
    folder = plot(CURVE, output="folder.png")
    assert folder.status == 2
    assert "it is there and no file" in folder.err
    assert {path.name for path in tmp_path.iterdir()} == {"curve.json", "folder.png"}


def test_a_full_disk_leaves_the_old_file_and_no_other(plot, tmp_path, monkeypatch):
    (tmp_path / "out.png").write_bytes(b"old")

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    done = plot(CURVE, "--what", "curve", "--dpi", "30")
    assert done.status == 2
    assert done.err == f"edifice-tt: error: {done.path}: No space left on device\n"
    assert done.path.read_bytes() == b"old"
    assert {path.name for path in tmp_path.iterdir()} == {"curve.json", "out.png"}


def test_a_missing_curve_and_an_impossible_dpi_are_one_line(plot, tmp_path, capsys):
    assert run_command("plot", str(tmp_path / "none.json"), "-o", str(tmp_path / "out.png")) == 2
    assert capsys.readouterr().err.endswith("none.json: No such file or directory\n")
    with pytest.raises(SystemExit) as stop:
        plot(CURVE, "--dpi", "5000")
    assert stop.value.code == 2
    assert "5000: expected a whole number from 30 to 600" in capsys.readouterr().err


def test_matplotlib_is_imported_when_the_command_runs_and_pyplot_never(tmp_path):
    (tmp_path / "curve.json").write_text(json.dumps(CURVE))
    code = """
import sys
from edifice_tt.testing import run_command
run_command("list")
assert "edifice_tt_plots" in sys.modules
assert "matplotlib" not in sys.modules
assert run_command("plot", "curve.json", "-o", "out.svg") == 0
assert "matplotlib" in sys.modules
assert "matplotlib.pyplot" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, stdout=subprocess.PIPE)


def test_the_cell_of_the_readme_draws_a_figure(tmp_path, monkeypatch):
    readme = (Path(__file__).parent.parent / "README.md").read_text()
    (cell,) = re.findall(r"```python\n(.*?)```", readme, re.DOTALL)
    candidates = tuple(et.Candidate(i, str(i % 2), correct=i % 2 == 0) for i in range(4))
    et.write_pools(tmp_path / "pool.jsonl", [et.Pool("q", candidates)])
    monkeypatch.chdir(tmp_path)
    display = SimpleNamespace(Image=lambda png: png)
    monkeypatch.setitem(sys.modules, "IPython.display", display)
    names = {}
    exec(cell, names)
    assert names["png"].startswith(b"\x89PNG")
