"""Copy this template under your own name, as `edifice-tt plugins --new NAME` does.

Alone: python3 rename.py NAME FOLDER.
"""

import keyword
import re
import shutil
import sys
from pathlib import Path

TEMPLATE = Path(__file__).resolve().parent
# Not copied: this file, its section of the README, and traces of installing and testing.
LEAVE = (Path(__file__).name, "__pycache__", "*.pyc", "*.egg-info", "build", "dist", ".*")
SECTION = re.compile(r"## Make it yours\n.*?(?=^## )", re.DOTALL | re.MULTILINE)


def rename(name: str, folder: Path) -> None:
    """Write the template to `folder`, with `name` in place of my_scorer and my-scorer."""
    module = name.replace("-", "_")
    if not re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", module):
        raise ValueError(
            f"NAME={name!r} must be words of a-z and 0-9 joined by - or _, the first with a letter "
            "at its beginning, as in my-scorer"
        )
    if keyword.iskeyword(module):
        raise ValueError(f"NAME={name!r} is a word of Python's own; take another")
    sources = list(TEMPLATE.glob("*/**/*.py"))
    if any(re.search(rf"\b{module}\b", path.read_text(encoding="utf-8")) for path in sources):
        raise ValueError(f"NAME={name!r} is a word that the template's code uses; take another")
    if folder.exists():
        raise ValueError(f"FOLDER={str(folder)!r} is there already; give one that is not")
    shutil.copytree(TEMPLATE, folder, ignore=shutil.ignore_patterns(*LEAVE))
    for path in sorted(
        folder.rglob("*"), reverse=True
    ):  # the content of a folder before the folder
        if path.is_file():
            text = SECTION.sub("", path.read_text(encoding="utf-8"))
            text = text.replace("my_scorer", module).replace("my-scorer", module.replace("_", "-"))
            path.write_text(text, encoding="utf-8")
        path.rename(path.with_name(path.name.replace("my_scorer", module)))


def next_steps(name: str, folder: Path) -> str:
    """What to do with the copy."""
    module, package = name.replace("-", "_"), f"edifice-tt-{name.replace('_', '-')}"
    return f"""wrote {folder}: the package {package} with the scorer {module}
next, where edifice_tt is installed already:
  cd {folder}
  pip install -e '.[test]'       # its edits take effect at the next start
  python -m pytest               # it keeps the contract as it is
  edit src/edifice_tt_{module}/__init__.py, and what tests/test_{module}.py expects of it
  edifice-tt best-of "Why is the sky blue?" --scorer {module}"""


if __name__ == "__main__":
    try:
        if len(sys.argv) != 3:
            raise ValueError(f"{len(sys.argv) - 1} words given, expected 2: NAME FOLDER")
        rename(sys.argv[1], Path(sys.argv[2]))
        print(next_steps(sys.argv[1], Path(sys.argv[2])))
    except (ValueError, OSError) as error:
        print(f"rename.py: error: {error}", file=sys.stderr)
        sys.exit(2)
