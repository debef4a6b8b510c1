"""The process of one peer: a module of `peers/`, driven line by line in JSON.

stdin: {"call": function, "with": arguments}; stdout: {"result": ...} or {"error": sentence}. The
first answer holds the module's VERSIONS, or which package is missing.
"""

import json
import os
import sys
from importlib import import_module
from typing import Any


def main() -> None:
    # Whatever else a library prints goes to standard error.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def answer(**what: Any) -> None:
        answers.write(json.dumps(what) + "\n")
        answers.flush()

    try:
        module = import_module(f"peers.{sys.argv[1]}")
    except ModuleNotFoundError as error:
        answer(missing=error.name)
        return
    answer(result=module.VERSIONS)
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer(result=getattr(module, request["call"])(**request["with"]))
        except ModuleNotFoundError as error:
            answer(missing=error.name)
        except Exception as error:
            answer(error=f"{sys.argv[1]}: {type(error).__name__}: {error}")


if __name__ == "__main__":
    main()
