"""What looks like a plugin and is none is named by `edifice-tt plugins`, with the reason."""

import importlib
import json

import pytest
from commands import runner
from fake_plugins import SCORER, open_site

from edifice_tt.contract.astray import find_astray

site = pytest.fixture(open_site, name="site")
run = pytest.fixture(runner, name="run")


def install(site, name, entry_points="", requires=""):
    """An installed distribution with these metadata."""
    folder = site.folder / f"{name.replace('-', '_')}-1.0.dist-info"
    folder.mkdir()
    needs = f"Requires-Dist: {requires}\n" if requires else ""
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n{needs}")
    if entry_points:
        (folder / "entry_points.txt").write_text(entry_points)
    importlib.invalidate_caches()


def reasons(*names):
    return {one.plugin: one.reason for one in find_astray() if one.plugin in names}


@pytest.mark.parametrize(
    "group",
    ["edifice-tt", "edifice_tt.plugins", "edifice.tt", "Edifice_TT", "edifce_tt", "edifice"],
)
def test_a_group_of_nearly_the_right_name_is_told_with_the_right_one(site, group):
    install(site, "mine", f"[{group}]\nmine = mine\n", "edifice-tt")
    expected = f"its entry point is in the group {group!r}, expected 'edifice_tt'"
    assert reasons("mine") == {"mine": expected}


@pytest.mark.parametrize(
    "requires", ["edifice-tt", "edifice_tt>=0.1", "Edifice.TT [demo]; python_version > '3'"]
)
def test_who_depends_on_it_without_an_entry_point_is_named(site, requires):
    install(site, "mine", "[console_scripts]\nmine = mine:main\n", requires)
    assert "has no entry point in the group 'edifice_tt'" in reasons("mine")["mine"]


def test_others_are_left_alone(site):
    site.install_scorer("sound", "sound")
    install(site, "other", "[edifices]\nx = y\n", "edifice-tt-math>=1")
    install(site, "elsewhere", "[llm]\nx = y\n", "edifice-tt")
    install(site, "tested", requires="edifice-tt; extra == 'test'")
    assert reasons("sound", "tested", "elsewhere", "edifice-tt") == {}
    assert "depends" not in reasons("other").get("other", "")


def test_the_command_tells_of_them(site, run):
    site.install("mine", SCORER.format(name="mine"))
    (points,) = site.folder.glob("mine-*/entry_points.txt")
    points.write_text("[edifice-tt]\nmine = mine\n")
    words = "its entry point is in the group 'edifice-tt', expected 'edifice_tt'"
    assert f"NO PLUGIN mine 1.0: {words}" in " ".join(run("plugins")[1].split())
    told = json.loads(run("plugins", "--json")[1])["no_plugins"]
    assert {"owner": "mine 1.0", "reason": words} in told
