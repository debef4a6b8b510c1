"""Missing candidates -> requests -> candidates, several requests at a time.

Knows how many choices a request may bring; knows no file and no command.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from typing import Any

from edifice_tt import Candidate, Pool, read_choices
from edifice_tt_openai.server import (
    Connection,
    RefusedError,
    Server,
    ServerError,
    UselessServerError,
)

Missing = Sequence[tuple[Pool, Sequence[int]]]


@dataclass(frozen=True)
class Request:
    """The fields of a request; `body` holds further ones, of which None leaves one out."""

    n: int = 16
    seed: int = 0
    temperature: float = 0.8
    top_p: float = 1.0
    max_tokens: int = 128
    stop: tuple[str, ...] = ()
    logprobs: bool = False
    raw: bool = False
    body: dict[str, Any] = field(default_factory=dict)

    def fields(self, model: str, pool: Pool, indices: Sequence[int]) -> dict[str, Any]:
        """The body of the request for these candidates of a problem."""
        asked: dict[str, Any] = {"model": model}
        if self.raw:
            asked["prompt"] = pool.prompt
        else:
            asked["messages"] = [dict(one) for one in pool.messages or ()]
        names = ("temperature", "top_p", "max_tokens")
        asked |= {name: getattr(self, name) for name in names}
        asked["seed"] = seed_of(self.seed, pool.problem, indices[0])
        if len(indices) > 1:
            asked["n"] = len(indices)
        if self.stop:
            asked["stop"] = list(self.stop)
        if self.logprobs and self.raw:
            asked["logprobs"] = 1
        elif self.logprobs:  # llama-cpp-python gives none unless it is told how many tokens to list
            asked |= {"logprobs": True, "top_logprobs": 1}
        asked |= self.body
        return {name: value for name, value in asked.items() if value is not None}

    def settings(self, model: str) -> dict[str, Any]:
        """The settings of the pool, among them what only the server could vouch for."""
        names = ("n", "seed", "temperature", "top_p", "max_tokens")
        settings = {"model": model, "template": "raw" if self.raw else "chat"}
        settings |= {name: getattr(self, name) for name in names}
        settings |= {"stop": list(self.stop), "server": "openai-compatible"}
        settings["unverified"] = ["model", "seed"] + ["token_logprobs"] * self.logprobs
        return settings | ({"body": self.body} if self.body else {})


def seed_of(seed: int, problem: str, index: int) -> int:
    """The seed of a request: of the run's seed, the problem and its first candidate; 31 bits."""
    digest = blake2b(f"{seed} {index} {problem}".encode(), digest_size=4).digest()
    return int.from_bytes(digest, "little") >> 1


@dataclass
class Sampler:
    """Asks a server for candidates and hands each on as it comes.

    `add` gets a pool with new candidates. `failed` says of each problem that lacks candidates why.
    `at_most` is how many choices a request brings, as far as the server has shown.
    """

    server: Server
    request: Request
    add: Callable[[Pool], None]
    model: str = ""
    concurrency: int = 8
    at_most: int = 1 << 30
    failed: dict[str, ServerError] = field(default_factory=dict)

    async def sample(self, missing: Missing) -> None:
        """Ask for all that is missing. Raises `UselessServerError` when there is no use in it."""
        async with self.server.connect() as connection:
            slots = asyncio.Semaphore(self.concurrency)
            try:
                async with asyncio.TaskGroup() as group:
                    run = _Run(connection, group, slots)
                    for pool, indices in missing:
                        self._begin(run, pool, list(indices))
            except BaseExceptionGroup as errors:
                raise errors.exceptions[0] from None

    def _begin(self, run: "_Run", pool: Pool, indices: list[int]) -> None:
        for at in range(0, len(indices), self.at_most):
            run.group.create_task(self._ask(run, pool, indices[at : at + self.at_most]))

    async def _ask(self, run: "_Run", pool: Pool, indices: list[int]) -> None:
        async with run.slots:
            if len(indices) > self.at_most:  # this was learned meanwhile
                self._begin(run, pool, indices[self.at_most :])
                indices = indices[: self.at_most]
            start = time.monotonic()
            try:
                candidates = await self._answered(run.connection, pool, indices)
            except UselessServerError:
                raise
            except ServerError as error:
                self.failed[pool.problem] = error
                return
            seconds = time.monotonic() - start
            got = [
                replace(one, index=index, seconds=seconds)
                for index, one in zip(indices, candidates, strict=False)
            ]
            self.add(replace(pool, candidates=tuple(got)))
            if rest := indices[len(got) :]:
                self.at_most = min(self.at_most, len(got))
                self._begin(run, pool, rest)

    async def _answered(
        self, connection: Connection, pool: Pool, indices: list[int]
    ) -> list[Candidate]:
        try:
            return await self._choices(connection, pool, indices)
        except RefusedError:
            if len(indices) == 1:
                raise
        return await self._choices(connection, pool, indices[:1])  # `n` may be what it refused

    async def _choices(
        self, connection: Connection, pool: Pool, indices: list[int]
    ) -> list[Candidate]:
        path = "completions" if self.request.raw else "chat/completions"
        answer = await connection.ask(path, self.request.fields(self.model, pool, indices))
        try:
            return read_choices(answer, stop=bool(self.request.stop))
        except ValueError as error:
            raise ServerError(f"{self.server.url}: in its answer, {error}") from error


@dataclass(frozen=True)
class _Run:
    """What the requests of one run share."""

    connection: Connection
    group: asyncio.TaskGroup
    slots: asyncio.Semaphore
