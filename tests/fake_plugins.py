"""Fake installed distributions: a module file and its metadata in a folder on the path.

A test module has its fixture by `site = pytest.fixture(open_site, name="site")`.
"""

import importlib
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

HEAD = "import edifice_tt\n@edifice_tt.hookimpl\n"  # before a hook
# A sound plugin: one text scorer, named by the test.
SCORER = """
import edifice_tt

@edifice_tt.hookimpl
def register_scorers(register):
    register({name!r}, lambda: lambda prompt, completions: [0.0], reads="text")
"""


class Site:
    """A folder that Python searches, into which a test puts plugins and takes them out again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.modules: set[str] = set()

    def install(
        self, name: str, code: str, *, version: str = "1.0", entry_point: str = "", attribute=""
    ) -> None:
        """Install distribution `name` with one module of `code`.

        Its entry point is named like the distribution unless `entry_point` says otherwise, and
        refers to the module, or to `attribute` of it.
        """
        module = name.replace("-", "_")
        self.modules.add(module)
        (self.folder / f"{module}.py").write_text(code)
        metadata = self.folder / f"{module}-{version}.dist-info"
        metadata.mkdir()
        (metadata / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        )
        target = f"{module}:{attribute}" if attribute else module
        (metadata / "entry_points.txt").write_text(
            f"[edifice_tt]\n{entry_point or name} = {target}\n"
        )
        importlib.invalidate_caches()

    def install_scorer(self, name: str, scorer: str, **options: str) -> None:
        """Install a sound distribution that registers one text scorer."""
        self.install(name, SCORER.format(name=scorer), **options)

    def remove(self, name: str) -> None:
        """Take a distribution out again, code and metadata."""
        module = name.replace("-", "_")
        (self.folder / f"{module}.py").unlink()
        for metadata in self.folder.glob(f"{module}-*.dist-info"):
            shutil.rmtree(metadata)
        self.forget()

    def forget(self) -> None:
        """Let the modules be imported afresh."""
        for module in self.modules:
            sys.modules.pop(module, None)
        importlib.invalidate_caches()


def open_site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """An empty folder on the path, with no limit on which plugins load."""
    monkeypatch.delenv("EDIFICE_TT_PLUGINS", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    # A second run within a second would otherwise read the first one's compiled file.
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    folder = Site(tmp_path)
    yield folder
    folder.forget()
