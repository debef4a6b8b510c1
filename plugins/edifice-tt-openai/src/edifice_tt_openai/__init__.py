"""Candidates and judgements from any OpenAI-compatible server.

Knows the hooks; what a command or a scorer needs is imported when it is used.
"""

from argparse import ArgumentParser
from collections.abc import Callable
from typing import TYPE_CHECKING

from edifice_tt import hookimpl

if TYPE_CHECKING:
    from argparse import _SubParsersAction


@hookimpl
def register_commands(subparsers: "_SubParsersAction[ArgumentParser]") -> None:
    from edifice_tt_openai.arguments import add
    from edifice_tt_openai.command import generate

    add(subparsers, generate)


@hookimpl
def register_scorers(register: Callable[..., None]) -> None:
    register(
        "openai_judge",
        openai_judge,
        reads="text",
        range="probability",
        concurrency=4,
        summary="a chat model on a server rates each answer",
    )


def openai_judge(
    url: str,
    model: str = "",
    gives: str = "number",
    prompt: str = "",
    out_of: float = 10.0,
    max_tokens: int = 1024,
    timeout: float = 600.0,
    key_from: str = "OPENAI_API_KEY",
    unlisted: bool = False,
) -> Callable[..., list[float]]:
    """Make a scorer that asks a server; see the README for its options."""
    from edifice_tt_openai.judge import Judge
    from edifice_tt_openai.server import Server

    server = Server(url, key_from, timeout, unlisted=unlisted)
    return Judge.of(server, model, gives, prompt, out_of=out_of, max_tokens=max_tokens)
