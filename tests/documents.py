"""Runs a page of docs/: its files, sessions and shell lines, in order, in a folder of its own.

A block that begins with `# path` is written to that path; `pycon` is a session whose output must be
as printed; of `sh` each line is run, and the lines of a `text` block must then be in its output.
"""

import doctest
import re
import runpy
import shlex
import shutil
import sys
import tomllib
from pathlib import Path

import pytest

from edifice_tt.cli import main, make_parser

DOCS = Path(__file__).parent.parent / "docs"
BLOCK = re.compile(r"```(\w+)\n(.*?)```", re.DOTALL)
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def blocks(text):
    """(language, content) of each fenced block."""
    return BLOCK.findall(text)


class Runner:
    """Runs blocks in a folder that is on the path; one namespace for all sessions."""

    def __init__(self, page, site, capsys):
        self.page, self.site, self.capsys = page, site, capsys
        self.namespace, self.output = {}, ""

    def run(self, text):
        """Run all blocks of a text; the number of each language that was run."""
        counts = {}
        for language, content in blocks(text):
            if header := re.match(r"# (\S+\.\w+)\n", content):
                self.write(header[1], content)
            elif language == "pycon":
                self.session(content)
            elif language == "sh":
                self.output = "".join(self.shell(line) for line in content.splitlines())
            elif language == "text":
                for line in content.splitlines():
                    assert squeeze(line) in squeeze(self.output), (line, self.output)
            else:
                raise AssertionError(f"{self.page}: nothing runs this {language} block: {content}")
            counts[language] = counts.get(language, 0) + 1
        return counts

    def write(self, path, content):
        """Write a file; a module that it replaces is imported afresh."""
        file = self.site.folder / path
        file.parent.mkdir(exist_ok=True)
        file.write_text(content)
        self.site.modules |= {
            name for name in sys.modules if name.split(".")[0] == path.split("/")[0]
        }
        self.site.modules.add(path.split("/")[0].removesuffix(".py"))
        self.site.forget()

    def session(self, content):
        """Run a session as doctest does; it sees what those before it defined."""
        found = doctest.DocTestParser().get_doctest(content, self.namespace, self.page, None, 0)
        report = []
        runner = doctest.DocTestRunner(optionflags=FLAGS)
        runner.run(found, out=report.append, clear_globs=False)
        assert not runner.failures, "".join(report)
        self.namespace |= found.globs

    def shell(self, line):
        """The output of one line; what would reach out of the folder is done here instead."""
        program, *words = shlex.split(line, comments=True)
        if (program, words) == ("pip", ["install", "-e", "."]):
            return self.install()
        if program == "edifice-tt":
            make_parser().parse_args(words)
            self.capsys.readouterr()
            assert main(words) == 0
            return self.capsys.readouterr().out
        if program == "cp":
            shutil.copy(*words)
            return ""
        assert program in ("python", "python3"), line
        if len(words) == 1:
            self.capsys.readouterr()
            runpy.run_path(words[0], run_name="__main__")
            return self.capsys.readouterr().out
        if words[:2] == ["-m", "pytest"]:
            self.capsys.readouterr()
            assert pytest.main(["-p", "no:cacheprovider", *words[2:]]) == 0
            return self.capsys.readouterr().out
        raise AssertionError(f"{self.page}: nothing runs this line: {line}")

    def install(self):
        """What `pip install -e .` leaves: the metadata of pyproject.toml."""
        project = tomllib.loads((self.site.folder / "pyproject.toml").read_text())["project"]
        self.register(project["name"], project["version"], project["entry-points"]["edifice_tt"])
        return ""

    def register(self, name, version, entry_points):
        """Metadata of a distribution, as pip writes it."""
        metadata = self.site.folder / f"{name.replace('-', '_')}-{version}.dist-info"
        metadata.mkdir()
        (metadata / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        )
        lines = "".join(f"{key} = {value}\n" for key, value in entry_points.items())
        (metadata / "entry_points.txt").write_text(f"[edifice_tt]\n{lines}")
        self.site.forget()


def squeeze(text):
    """One blank between words, as in the pages."""
    return "\n".join(" ".join(line.split()) for line in text.splitlines())
