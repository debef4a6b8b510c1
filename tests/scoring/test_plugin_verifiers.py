"""A verifier that a plugin ships: a scorer by name, read from a file inside its package."""

import sys
from dataclasses import replace

import numpy as np
import pytest
from fake_plugins import open_site

import edifice_tt as et
from edifice_tt import cli
from edifice_tt.contract.errors import CheckpointError, EdificeError, PluginError, PluginWarning
from edifice_tt.scoring.heads import SURE
from edifice_tt.scoring.verifier import new_head, tokenizer_digest
from edifice_tt.testing import BrokenPromise, check_scorer

site = pytest.fixture(open_site, name="site")

SIZE = 24  # of tiny_lm
OPTIONS = {"scorer_hidden": 5, "dropout": 0.5, "seed": 4}
POOL = et.Pool("q", tuple(et.Candidate(i, "", (70 + i,) * (i + 1)) for i in range(4)))
PLUGIN = """
from pathlib import Path
import edifice_tt

@edifice_tt.hookimpl
def register_scorers(register):
    register("judge", {made}, reads="states"{more})
"""
IN_THE_PACKAGE = 'Path(__file__).with_name("judge.safetensors")'


@pytest.fixture(scope="module")
def verifier(tiny_lm):
    return et.Verifier(
        "as-trained",
        "mlp",
        OPTIONS,
        1,
        SIZE,
        tiny_lm.fingerprint,
        new_head("mlp", SIZE, OPTIONS),
        np.linspace(-1, 1, SIZE, dtype=np.float32),
        np.linspace(0.5, 2, SIZE, dtype=np.float32),
        1.5,
        -0.25,
        tokenizer=tokenizer_digest(tiny_lm),
    )


@pytest.fixture
def shipped(site, verifier):
    """A plugin with the verifier's file beside its module."""
    verifier.save(site.folder / "judge.safetensors")
    more = ', model="tiny", summary="short answers"'
    site.install("judges", PLUGIN.format(made=IN_THE_PACKAGE, more=more))
    return site


def test_a_verifier_of_a_plugin_is_found_by_its_name(shipped, tiny_lm, verifier):
    assert "judge" in et.list_verifiers()
    assert "judge" in et.list_scorers()
    record = et.scorer("judge")
    assert (record.reads, record.range, record.owner) == ("states", "probability", "judges 1.0")
    expected = et.score(tiny_lm, POOL, verifier)
    scored = et.score(tiny_lm, POOL, "judge")
    assert [c.scores["judge"] for c in scored] == [c.scores["as-trained"] for c in expected]
    assert scored.ranges == {"judge": "probability"}
    assert et.load_verifier("judge").name == "judge"
    assert et.select(scored, "best_of_n", scorer="judge").index == 0


def test_the_command_line_finds_it_by_name_and_says_what_it_needs(
    shipped, tiny_lm, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(et, "load_pretrained", lambda name, **_: asked.append(name) or tiny_lm)
    asked, path = [], tmp_path / "pool.jsonl"
    POOL.save(path)
    assert cli.main(["score", str(path), "--scorer", "judge"]) == 0
    assert asked == ["tiny"]
    assert et.Pool.load(path).scorers == ["judge"]
    assert '"judges 1.0"' in path.read_text()
    capsys.readouterr()
    assert cli.main(["list"]) == 0
    assert "hidden states of tiny" in capsys.readouterr().out
    assert cli.main(["score", str(path), "--scorer", "judge", "--reduce", "min"]) == 2
    assert "has no steps to reduce" in capsys.readouterr().err


@pytest.mark.slow
def test_the_kit_knows_verifiers(shipped, site, tmp_path):
    check_scorer("judge", reads="states", range="probability")
    (site.folder / "judge.safetensors").write_bytes(b"broken")
    with pytest.raises(BrokenPromise, match=r"scorer 'judge' of judges 1.0 raises when it is open"):
        check_scorer("judge")


def test_a_factory_gives_a_verifier_or_the_path_of_its_file(site, verifier, tiny_lm):
    verifier.save(site.folder / "judge.safetensors")
    paths = {
        "path": f"lambda: {IN_THE_PACKAGE}",
        "text": f"str({IN_THE_PACKAGE})",
        "whole": f"lambda: edifice_tt.load_verifier({IN_THE_PACKAGE})",
    }
    expected = [c.scores["as-trained"] for c in et.score(tiny_lm, POOL, verifier)]
    for name, made in paths.items():
        site.install(name, PLUGIN.format(made=made, more="").replace('"judge"', f'"{name}"'))
        found = et.score(tiny_lm, POOL, name)
        assert [c.scores[name] for c in found] == expected


HEAD = """
import edifice_tt
from tinygrad import Tensor

class Constant:
    def __init__(self, hidden_size):
        self.value = Tensor([{value}])

    def __call__(self, hidden):
        return hidden[..., :1] * 0 + self.value

@edifice_tt.hookimpl
def register_scorers(register):
    register("constant", Constant, reads="hidden", range="probability")
"""


def constant(site, verifier, value):
    """The verifier with a head that declares probabilities and gives one number everywhere."""
    site.install("heads", HEAD.format(value=value))
    return replace(verifier, scorer="constant", head=new_head("constant", SIZE, OPTIONS))


@pytest.mark.parametrize("value", [1.5, -0.25, 1.00001, float("inf")])
def test_a_head_that_leaves_the_range_that_it_declares_is_named(site, verifier, tiny_lm, value):
    text = f"float('{value}')"
    words = (
        rf"verifier 'as-trained': its head, scorer 'constant' of heads 1\.0, gave {value:g}, but "
        "declares range='probability': within 0 and 1"
    )
    with pytest.raises(PluginError, match=words):
        et.score(tiny_lm, POOL, constant(site, verifier, text))


@pytest.mark.parametrize(("value", "sign"), [(1 + 2**-23, 1), (-(2**-24), -1)])
def test_what_rounding_puts_beside_the_range_counts_as_its_edge(
    site, verifier, tiny_lm, value, sign
):
    at_edge = verifier.probability(sign * np.log(SURE**-1 - 1))
    scored = et.score(tiny_lm, POOL, constant(site, verifier, value))
    assert [c.scores["as-trained"] for c in scored] == pytest.approx([at_edge] * 4, rel=1e-3)


def test_naming_it_opens_no_file_and_loads_no_tinygrad(site, monkeypatch):
    import subprocess

    site.install("judges", PLUGIN.format(made="Path('/not/there')", more=""))
    code = (
        "import sys, edifice_tt as et; assert 'judge' in et.list_verifiers(); "
        "assert 'tinygrad' not in sys.modules"
    )
    monkeypatch.setenv("PYTHONPATH", f"{site.folder}:{':'.join(sys.path)}")
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("content", [b"", b"broken", b"\x08\0\0\0\0\0\0\0{}      "])
def test_a_damaged_file_is_one_error_that_names_the_owner(shipped, tiny_lm, content):
    file = shipped.folder / "judge.safetensors"
    file.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"scorer 'judge' of judges 1\.0: .*judge.safetensor"):
        et.score(tiny_lm, POOL, "judge")


def test_a_missing_file_is_one_error_that_names_the_owner(shipped, tiny_lm):
    (shipped.folder / "judge.safetensors").unlink()
    with pytest.raises(EdificeError, match=r"scorer 'judge' of judges 1\.0: .*is not there; put"):
        et.score(tiny_lm, POOL, "judge")


@pytest.mark.parametrize(
    ("files", "known"),
    [
        (["judges.py"], "judges was installed without it, so its wheel does not hold it"),
        (["judges.py", "judge.safetensors"], "judges was installed with it; install that anew"),
        (["__editable__/judges.pth"], "judges was installed in place; put it there"),
    ],
)
@pytest.mark.parametrize("reads", ["states", "judge"])
def test_a_missing_file_is_told_with_what_its_package_holds(site, tiny_lm, files, known, reads):
    code = PLUGIN.format(made=IN_THE_PACKAGE, more="").replace("states", reads)
    site.install("judges", code)
    record = site.folder / "judges-1.0.dist-info" / "RECORD"
    record.write_text("".join(f"{one},,\n" for one in files))
    words = rf"scorer 'judge' of judges 1\.0: .*judge\.safetensors is not there; {known}"
    with pytest.raises(CheckpointError, match=words):
        et.score(tiny_lm, POOL, "judge")


OTHER = """
import edifice_tt

def other(hidden_size, seed=0):
    from edifice_tt.nn.heads import LinearScorer
    return LinearScorer(hidden_size, seed)

@edifice_tt.hookimpl
def register_scorers(register):
    register("other", other, reads="hidden", range="logit")
"""


def test_a_file_says_which_package_its_head_is_from(site, verifier, tmp_path):
    site.install("my-heads", OTHER)
    model = et.build("test_time_compute", embed_dim=3, hidden_size=8, num_layers=1, scorer="other")
    et.save(model, tmp_path / "model")
    named = replace(verifier, scorer="other", head=new_head("other", SIZE, OPTIONS))
    named.save(tmp_path / "verifier")
    assert et.load_verifier(tmp_path / "verifier").scorer == "other"
    site.remove("my-heads")
    for name, load in (("model", et.load), ("verifier", et.load_verifier)):
        words = (
            rf"{name} asks for what is not here: unknown scorer 'other'.*; it was saved with my-he"
        )
        with pytest.raises(et.UnknownNameError, match=words):
            load(tmp_path / name)


def test_a_head_that_is_not_installed_is_one_error_that_names_the_owner(shipped, tiny_lm, verifier):
    replace(verifier, scorer="mpl").save(shipped.folder / "judge.safetensors")
    with pytest.raises(PluginError, match=r"'judge' of judges 1\.0 failed: .*unknown scorer 'mpl'"):
        et.score(tiny_lm, POOL, "judge")


def test_another_model_is_refused_and_the_owner_named(shipped, tiny_lm):
    from edifice_tt.testing import tiny_model

    with pytest.raises(EdificeError, match=r"verifier 'judge' of judges 1\.0 reads hidden state"):
        et.score(tiny_model(), POOL, "judge")
    with pytest.raises(EdificeError, match=r"'judge' of judges 1\.0 .*so it needs its model"):
        et.score(None, POOL, "judge")


@pytest.mark.parametrize(
    ("made", "message"),
    [
        ("lambda: 7", r"scorer 'judge' of judges 1\.0 gave 7, expected a Verifier or its file's p"),
        ("lambda: 1 / 0", r"scorer 'judge' of judges 1\.0 failed: ZeroDivisionError"),
        ("exit", r"scorer 'judge' of judges 1\.0 failed: SystemExit"),
    ],
)
def test_a_factory_that_gives_no_verifier_is_one_error_that_names_the_owner(
    site, tiny_lm, made, message
):
    site.install("judges", PLUGIN.format(made=made, more=""))
    with pytest.raises(PluginError, match=message):
        et.score(tiny_lm, POOL, "judge")


@pytest.mark.parametrize(
    ("made", "more", "reason"),
    [
        ("'judge.safetensors'", "", "'judge.safetensors' depends on the current folder; give the"),
        ("7", "", "factory=7 is not callable"),
        ("list", ", range='logit'", "a verifier gives probabilities; leave out range='logit'"),
        (
            "list",
            ", level='step'",
            "level='step' needs reads='text' or 'judge', given reads='states'",
        ),
    ],
)
def test_a_verifier_that_is_declared_wrongly_leaves_its_plugin_out(site, made, more, reason):
    site.install("judges", PLUGIN.format(made=made, more=more))
    with pytest.warns(PluginWarning) as warned:
        assert "judge" not in et.list_verifiers()
    assert reason in str(warned[0].message)


def test_only_a_verifier_names_a_model(site):
    site.install("judges", PLUGIN.format(made="list", more=", model='m'").replace("states", "text"))
    with pytest.warns(PluginWarning, match="model='m' is for reads='states', given reads='text'"):
        et.list_scorers()
