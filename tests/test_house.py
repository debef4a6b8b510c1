"""The house keeps its own rules: order of rooms, their size, documentation of every public name."""

import ast
import inspect
import re
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import grimp
import pytest

import edifice_tt as et
from edifice_tt import testing
from edifice_tt.contract import hookspecs
from edifice_tt.nn.cpu import draws, grouping, kernels, replay
from edifice_tt.nn.gpu import kernels as kernels_of_gpus

ROOT = Path(__file__).parent.parent
ROOMS = sorted((ROOT / "edifice_tt").rglob("*.py"))


def test_a_room_imports_only_from_rooms_before_it():
    command = [sys.executable, "-c", "from importlinter.cli import lint_imports_command as c; c()"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_no_files_import_each_other_in_a_circle():
    """Imports inside functions count, those for a type checker alone do not."""
    graph = grimp.build_graph("edifice_tt", exclude_type_checking_imports=True, cache_dir=None)
    stairs = {name: graph.find_modules_directly_imported_by(name) for name in graph.modules}
    assert "edifice_tt.pools.pool" in stairs["edifice_tt.cli.pools"], "inside a function"
    list(TopologicalSorter(stairs).static_order())  # CycleError names those of a circle


@pytest.mark.parametrize("room", ROOMS, ids=lambda path: str(path.relative_to(ROOT)))
@pytest.mark.first(3)
def test_no_room_is_over_300_lines_and_each_says_what_it_knows(room):
    text = room.read_text()
    assert len(text.splitlines()) <= 300
    assert ast.get_docstring(ast.parse(text)), "a room's first line says what it knows"


@pytest.mark.parametrize(
    "room", sorted((ROOT / "edifice_tt").rglob("*.c")), ids=lambda path: path.name
)
def test_a_room_in_c_is_as_small_and_says_what_it_knows(room):
    lines = room.read_text().splitlines()
    assert len(lines) <= 300
    assert lines[0].startswith("// "), "a room's first line says what it knows"
    if room.parent.parent.name == "gpu":
        users = Path(kernels_of_gpus.__file__).parent.glob("*.py")
        assert any(f'"{room.stem}"' in user.read_text() for user in users)
    else:
        own = grouping.C_ROOM, replay.C_ROOM
        assert room.stem in (*kernels.C_ROOMS, *draws.C_ROOMS, *own)


def test_the_front_door_and_the_type_checker_see_the_same_names():
    tree = ast.parse((ROOT / "edifice_tt" / "__init__.py").read_text())
    block = next(node for node in tree.body if isinstance(node, ast.If))
    seen = {name.asname for node in block.body for name in node.names}
    assert seen == set(et.__all__)


@pytest.mark.parametrize("name", et.__all__)
def test_every_public_name_is_documented(name):
    public = getattr(et, name)
    if name == "hookimpl":
        return  # pluggy's own marker, documented in hookspecs
    assert inspect.getdoc(public)
    members = vars(public).items() if inspect.isclass(public) else ()
    for member, value in members:
        if not member.startswith("_") and inspect.isfunction(value):
            assert inspect.getdoc(value), f"{name}.{member}"


def test_importing_the_front_door_does_not_import_tinygrad():
    code = "import sys, edifice_tt as et; et.list_scorers(); assert 'tinygrad' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_an_unknown_public_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'buidl'"):
        _ = et.buidl


PLUGINS = sorted((ROOT / "plugins").rglob("*.py"))


@pytest.mark.parametrize("room", PLUGINS, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_plugin_imports_only_what_is_public(room):
    text = room.read_text()
    programs = [text, *re.findall(r'"""(.*?)"""', text, re.S)]  # a test may run a string
    for node in (node for program in programs for node in _nodes(program)):
        if isinstance(node, ast.Import):
            ours = [name.name for name in node.names if name.name.split(".")[0] == "edifice_tt"]
            assert set(ours) <= {"edifice_tt", "edifice_tt.testing"}
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "edifice_tt":
            assert node.module in ("edifice_tt", "edifice_tt.testing")
            public = testing.__all__ if node.module == "edifice_tt.testing" else et.__all__
            assert {name.name for name in node.names} <= {*public, "testing"}
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "edifice_tt":
            assert node.attr in {*et.__all__, "__version__", "testing"}


def _nodes(program):
    try:
        return list(ast.walk(ast.parse(program)))
    except SyntaxError:  # a docstring
        return []


@pytest.mark.parametrize("document", ["README.md"])
def test_every_hook_is_documented(document):
    hooks = [name for name, spec in vars(hookspecs).items() if hasattr(spec, "edifice_tt_spec")]
    assert len(hooks) == 9
    text = (ROOT / document).read_text()
    assert [hook for hook in hooks if f"`{hook}`" not in text] == []
    assert [hook for hook in hooks if not inspect.getdoc(getattr(hookspecs, hook))] == []
