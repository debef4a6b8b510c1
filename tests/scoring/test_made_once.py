"""A scorer is made once a run and not once a problem, for making it may load a model."""

import pytest
from fake_plugins import Site, open_site

import edifice_tt as et
from edifice_tt import cli
from edifice_tt.scoring import score
from edifice_tt.testing import small_pool

site = pytest.fixture(open_site, name="site")

PLUGIN = """
import edifice_tt

made = []

class Length:
    def __init__(self, per: float = 1.0):
        made.append(per)
        self.per = per

    def __call__(self, prompt, completions):
        return [len(text) / self.per for text in completions]

@edifice_tt.hookimpl
def register_scorers(register):
    register("length", {factory}, reads="text")
"""
BROKEN = "raise RuntimeError('broken')"


def install(site: Site, factory="Length"):
    site.install("lengths", PLUGIN.format(factory=factory))
    et.scorer("length")
    import lengths

    return lengths.made


def pools(count=7):
    return [et.Pool("q", (et.Candidate(0, "a" * i),), problem=str(i)) for i in range(count)]


@pytest.mark.parametrize("factory", ["Length", "lambda **more: Length(**more)"])
def test_many_pools_are_scored_by_one_scorer(site: Site, factory):
    made = install(site, factory)
    scored = [et.score(None, pool, "length") for pool in pools()]
    assert [pool.candidates[0].scores["length"] for pool in scored] == list(range(7))
    assert made == [1.0]


@pytest.mark.slow
def test_each_choice_of_options_is_made_once(site: Site):
    made = install(site)
    for pool in pools():
        et.score(None, pool, "length:per=2")
        et.score(None, pool, "length:per=4")
    assert made == [2.0, 4.0]


@pytest.mark.filterwarnings("ignore::edifice_tt.contract.errors.PluginWarning")
@pytest.mark.slow
def test_a_broken_plugin_beside_it_does_not_make_it_anew(site: Site):
    made = install(site)
    site.install("broken", BROKEN)
    for pool in pools():
        et.score(None, pool, "length")
        et.score(None, pool, "length:per=2")
    assert made == [1.0, 2.0]


def test_a_reloaded_plugin_is_made_anew(site: Site):
    first = install(site)
    et.score(None, small_pool(), "length")
    site.remove("lengths")
    second = install(site)
    et.score(None, small_pool(), "length")
    assert (first, second) == ([1.0], [1.0])
    assert first is not second


@pytest.mark.parametrize(("scorer", "expected"), [("length", [1.0]), ("length:per=2", [2.0])])
def test_the_command_makes_it_once_for_a_file(site: Site, tmp_path, scorer, expected):
    made, path = install(site), tmp_path / "pool.jsonl"
    et.write_pools(path, pools())
    assert cli.main(["score", str(path), "--scorer", scorer]) == 0
    assert cli.main(["select", str(path), "--scorer", scorer]) == 0
    assert made == expected


FILE = """
import edifice_tt

@edifice_tt.hookimpl
def register_scorers(register):
    register("mine", {path!r}, reads={reads!r}, range="probability")
"""


@pytest.mark.parametrize("reads", ["judge", "states"])
def test_a_judge_and_a_verifier_are_opened_once_a_device_until_their_file_changes(
    site: Site, monkeypatch, tmp_path, reads
):
    path, opened = tmp_path / "file", []
    site.install("mine", FILE.format(path=str(path), reads=reads))
    monkeypatch.setitem(score._OPEN, reads, lambda record, device: opened.append(device))
    for device in ("A", "B", "A", "A"):
        score.opened(et.scorer("mine"), None, device)
    assert opened == ["A", "B"]
    path.write_text("another")
    score.opened(et.scorer("mine"), None, "A")
    assert opened == ["A", "B", "A"]
