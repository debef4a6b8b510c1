"""Where foreign code raised an error: its file and line. Knows no hook."""

import sysconfig
from pathlib import Path
from traceback import walk_tb
from types import CodeType, FrameType

_OURS = ("edifice_tt", "pluggy", "tinygrad")  # what calls a plugin, or stands between
_PYTHON = tuple({sysconfig.get_path(name) for name in ("stdlib", "platstdlib")})
_INSTALLED = tuple({sysconfig.get_path(name) for name in ("purelib", "platlib")})


def place_of(error: BaseException) -> str:
    """The last line of foreign code on the way to an error, as `my_package/heads.py, line 7`.

    What the foreign code called in the library, in Python or in other packages is left out. Empty
    where none is on the way.
    """
    package, place = "", ""
    for frame, line in walk_tb(error.__traceback__):
        module = str(frame.f_globals.get("__name__", ""))
        root = module.partition(".")[0]
        if root not in _OURS and _is_foreign(frame.f_code):
            package = package or root
            if root == package:
                place = f"{_file(frame, module)}, line {line}"
    return place


def _is_foreign(code: CodeType) -> bool:
    path = code.co_filename
    is_python = path.startswith(_PYTHON) and not path.startswith(_INSTALLED)
    return not (is_python or path.startswith(("<frozen", "<string")))


def _file(frame: FrameType, module: str) -> str:
    """The file's path from its package on."""
    path = Path(frame.f_code.co_filename)
    return "/".join(path.parts[-1 - module.count(".") - (path.stem == "__init__") :])
