"""`EDIFICE_TT_TRACE_PLUGINS=1` prints what plugins do; without it nothing is printed."""

import re

import pytest
from fake_plugins import SCORER, Site, open_site
from test_plugins import BROKEN, HEAD

from edifice_tt.contract.errors import PluginWarning
from edifice_tt.contract.plugins import load_plugins
from edifice_tt.contract.registry import load_registry

site = pytest.fixture(open_site, name="site")


def traced(capsys):
    """What a registry that is loaded now prints, without the times."""
    capsys.readouterr()
    load_registry()
    out, err = capsys.readouterr()
    assert out == ""
    return [re.sub(r"\d+\.\d{3} s$", "T s", line) for line in err.splitlines()]


def test_the_trace_shows_each_call_and_its_result(site: Site, monkeypatch, capsys):
    site.install_scorer("ann", "by_ann")
    monkeypatch.setenv("EDIFICE_TT_PLUGINS", "ann")
    monkeypatch.setenv("EDIFICE_TT_TRACE_PLUGINS", "1")
    lines = traced(capsys)
    assert lines[0] == "edifice-tt trace: ann: import ann -> T s"
    assert lines[-2:] == [
        "edifice-tt trace: ann: register('by_ann', <lambda>, reads='text') -> None",
        "edifice-tt trace: ann: register_scorers(register=register) -> []",
    ]
    calls = [line for line in lines if "(register=register)" in line]
    assert [line.split(": ")[1] for line in calls] == [
        "edifice_tt.architectures",
        "edifice_tt.nn",
        "edifice_tt.pools",
        *["edifice_tt.selection"] * 2,
        "edifice_tt.search",
        "edifice_tt.scoring",
        "edifice_tt.scoring.shipped",
        "edifice_tt.workers",
        "ann",
    ]


def test_the_trace_shows_what_a_plugin_raised(site: Site, monkeypatch, capsys):
    site.install("broken", BROKEN["raises half-way"][0])
    monkeypatch.setenv("EDIFICE_TT_PLUGINS", "broken")
    monkeypatch.setenv("EDIFICE_TT_TRACE_PLUGINS", "1")
    with pytest.warns(PluginWarning):
        lines = traced(capsys)
    assert [line for line in lines if line.startswith("edifice-tt trace")][-2:] == [
        "edifice-tt trace: broken: register('half', list, reads='text') -> None",
        "edifice-tt trace: broken: register_scorers(register=register) -> raised "
        "ZeroDivisionError: division by zero",
    ]
    assert any(re.match(r'  File ".*broken.py", line \d+, in register_scorers', x) for x in lines)


def test_the_trace_shows_the_first_result_and_who_was_asked(site: Site, monkeypatch, capsys):
    """A result of any length, over several lines, or with a repr that fails, is one short line."""
    code = HEAD + "def load_pretrained(path):\n    return RESULTS[path]\n" + RESULTS
    site.install("ours", code)
    monkeypatch.setenv("EDIFICE_TT_PLUGINS", "ours")
    monkeypatch.setenv("EDIFICE_TT_TRACE_PLUGINS", "1")
    hook = load_plugins().manager.hook.load_pretrained
    shown = []
    for path in ("lines", "long", "failing"):
        capsys.readouterr()
        hook(path=path)
        shown.append(capsys.readouterr().err)
    start = "edifice-tt trace: ours, edifice_tt.weights: load_pretrained(path='{}') -> {}"
    assert shown[0] == start.format("lines", "'one\\ntwo'\n".replace("\n'", "\\n'", 1))
    assert all(line.count("\n") == 1 and len(line) < 180 for line in shown)
    assert "<Failing instance at " in shown[2]


RESULTS = """
class Failing:
    def __repr__(self): raise OSError("no")

RESULTS = {"lines": "one\\ntwo", "long": "x" * 9999, "failing": Failing()}
"""


def test_a_slow_import_is_no_error_and_the_trace_tells_its_seconds(site: Site, monkeypatch, capsys):
    site.install("slow", "import time; time.sleep(0.3)\n" + SCORER.format(name="by_slow"))
    monkeypatch.setenv("EDIFICE_TT_PLUGINS", "slow")
    monkeypatch.setenv("EDIFICE_TT_TRACE_PLUGINS", "1")
    registry = load_registry()
    assert registry.failures == []
    assert "by_slow" in registry.scorers
    first = capsys.readouterr().err.splitlines()[0]
    assert first.startswith("edifice-tt trace: slow: import slow -> ")
    assert float(first.split()[-2]) >= 0.3


@pytest.mark.parametrize("value", ["", "0", None])
def test_without_the_trace_nothing_is_printed(site: Site, monkeypatch, capsys, value):
    site.install_scorer("ann", "by_ann")
    if value is None:
        monkeypatch.delenv("EDIFICE_TT_TRACE_PLUGINS", raising=False)
    else:
        monkeypatch.setenv("EDIFICE_TT_TRACE_PLUGINS", value)
    assert traced(capsys) == []
