"""The folder in which downloads, and what was measured of this machine, are kept."""

import os
from pathlib import Path

from edifice_tt.contract.errors import EdificeError, ToolchainError
from edifice_tt.machine.extras import require


def cache_folder() -> Path:
    """`EDIFICE_TT_HOME`, or the platform's folder for caches.

    Raises `EdificeError` for a home that is not there, and `ToolchainError` without platformdirs.
    """
    if home := os.environ.get("EDIFICE_TT_HOME"):
        try:
            return Path(home).expanduser()
        except RuntimeError as error:  # `~name` of a user who is not there
            raise EdificeError(
                f"EDIFICE_TT_HOME={home!r} begins with a home that is not there; give the path"
            ) from error
    try:
        platformdirs = require("platformdirs", extra="lm")
    except ToolchainError as error:
        raise ToolchainError(f"{error}; or set EDIFICE_TT_HOME to a folder for models") from error
    return Path(platformdirs.user_cache_path("edifice_tt"))
