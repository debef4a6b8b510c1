"""The program that renders chat templates, a process of its own with little time and memory.

Reads requests from its input and answers on its output, a line of JSON each. Imports nothing of
edifice_tt, so that it starts fast.
"""

import json
import resource
import signal
import sys
from contextlib import suppress
from datetime import datetime
from functools import lru_cache
from typing import Any

from jinja2 import TemplateError, nodes
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

LONGEST = 2**24  # characters of a prompt; no context holds so many


class Generation(Extension):
    """`{% generation %}`, which marks what a model is trained on: passed through."""

    tags = {"generation"}  # noqa: RUF012

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.Scope(body, lineno=line)


def make_sandbox() -> Any:
    """The environment for which templates are written, that of transformers."""

    def raise_exception(message: object) -> None:
        raise TemplateError(str(message))

    def tojson(
        value: object,
        ensure_ascii: bool = False,
        indent: int | None = None,
        separators: tuple[str, str] | None = None,
        sort_keys: bool = False,
    ) -> str:
        return json.dumps(
            value,
            ensure_ascii=ensure_ascii,
            indent=indent,
            separators=separators,
            sort_keys=sort_keys,
        )

    sandbox = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, "jinja2.ext.loopcontrols"]
    )
    sandbox.filters["tojson"] = tojson
    sandbox.globals["raise_exception"] = raise_exception
    return sandbox


def answer(request: dict[str, Any], compiled: Any) -> dict[str, Any]:
    """The rendered text and whether it tells the day, or why there is none."""
    day, dated = datetime.fromisoformat(request["day"]), False

    def strftime_now(form: str) -> str:
        nonlocal dated
        dated = True
        return day.strftime(form)

    try:
        template = compiled(request["template"])
        text = template.render(request["values"], strftime_now=strftime_now)
    except MemoryError:
        return {"error": "it needs too much memory"}
    except Exception as error:  # a template is a program: it can fail in any way
        return {"error": (" ".join(str(error).split()) or type(error).__name__)[:500]}
    if len(text) > LONGEST:
        return {"error": f"it writes {len(text)} characters; at most {LONGEST} are read"}
    return {"text": text, "dated": dated}


def main(seconds: float, memory: int) -> None:
    """Answer requests until there are no more, each within its processor time."""
    with suppress(ValueError, OSError):  # a system may not know this limit
        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    signal.signal(signal.SIGPROF, signal.SIG_DFL)  # ends the process, whatever it is doing
    compiled = lru_cache(maxsize=8)(make_sandbox().from_string)
    for line in sys.stdin:
        signal.setitimer(signal.ITIMER_PROF, seconds)
        print(json.dumps(answer(json.loads(line), compiled)), flush=True)


if __name__ == "__main__":
    main(float(sys.argv[1]), int(sys.argv[2]))
