"""One request to an OpenAI-compatible server: its faults, and when to try again.

Knows addresses, keys and status codes; knows no candidate and no prompt.
"""

import asyncio
import json
import os
import re
from collections.abc import AsyncIterator, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import httpx2

from edifice_tt import EdificeError

T = TypeVar("T")
FIRST_WAIT = 0.5  # seconds; each further wait is twice as long
LONGEST_WAIT = 60.0
BUSY = (408, 409, 429)  # beside 500 and above
IS_IT = "is it the address of an OpenAI-compatible server? Most end in /v1"


class ServerError(EdificeError):
    """A request was not answered as it should be. Another one may be."""


class RefusedError(ServerError):
    """A request was answered with a status of refusal."""


class UselessServerError(ServerError):
    """No other request would be answered either."""


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run asynchronous work to its end, also where an event loop runs already, as in a notebook."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(work)
    with ThreadPoolExecutor(1) as other:
        return other.submit(asyncio.run, work).result()


@dataclass(frozen=True)
class Server:
    """Where a server is, and how patient its clients are.

    `key_from` is the environment variable that holds the key, which is written nowhere. `retries`
    is how often a request is made again. `unlisted` says that the model need not be on its list.
    """

    url: str
    key_from: str = "OPENAI_API_KEY"
    timeout: float = 600.0
    retries: int = 5
    unlisted: bool = False

    def __post_init__(self) -> None:
        if not re.fullmatch(r"https?://[^/?#@\s]+(/[^?#\s]*)?", self.url):
            raise ValueError(
                f"url={self.url!r} must be the address of a server without user, password and "
                "query, as in http://localhost:8000/v1"
            )
        if not self.timeout > 0:
            raise ValueError(f"timeout={self.timeout} must be a number of seconds above 0")

    async def find_model(self, name: str) -> str:
        """The model of that name, by default the only one; raises as `Connection` does."""
        async with self.connect() as connection:
            return await connection.find_model(name)

    @asynccontextmanager
    async def connect(self) -> AsyncIterator["Connection"]:
        """Open a client, which is closed at the end."""
        key = os.environ.get(self.key_from, "").strip()
        if not (key.isascii() and key.isprintable()):
            raise ValueError(f"the key in {self.key_from} holds characters that no key has")
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        timeout = httpx2.Timeout(self.timeout, connect=min(self.timeout, 30.0))
        limits = httpx2.Limits(max_connections=None)
        try:
            client = httpx2.AsyncClient(headers=headers, timeout=timeout, limits=limits)
        except (httpx2.InvalidURL, ValueError) as error:  # of a proxy in the environment
            raise ValueError(f"no client can be made: {error}") from error
        async with client:
            yield Connection(self, client)


@dataclass(frozen=True)
class Connection:
    """An open client of a server."""

    server: Server
    client: httpx2.AsyncClient

    async def find_model(self, name: str) -> str:
        """The model that is asked for, by default the only one that the server has.

        Raises `UselessServerError` where nothing answers, where the answers are of another kind,
        and where the server lists its models without this one: many would answer with another.
        """
        served = await self._list_models()
        if name and (self.server.unlisted or served is None or name in served):
            return name
        if not name and served and len(served) == 1:
            return served[0]
        asked = f"{self.server.url}: " + (f"no model {name!r}" if name else "no model was named")
        if served is None:
            raise UselessServerError(f"{asked}, and it lists no models; name one ({IS_IT})")
        do = "; name one of them" + ", or allow unlisted ones" * bool(name)
        raise UselessServerError(f"{asked}, and it has {shown(served)}{do}")

    async def _list_models(self) -> list[str] | None:
        """The names of the server's models; None if it gives no such list now."""
        try:
            answer = await self._once("GET", "models")
        except _MissingError:
            return None
        except _PassingError as error:
            if error.fault is RefusedError:  # it is busy, or still loading
                return None
            raise UselessServerError(f"{error}; {IS_IT}") from error
        listed = answer.get("data")
        if listed is None and answer.get("object") == "list":  # of ollama without models
            return []
        if not isinstance(listed, list):
            raise UselessServerError(f"{self.server.url}: its list of models has no data; {IS_IT}")
        return [str(one["id"]) for one in listed if isinstance(one, dict) and "id" in one]

    async def ask(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """The answer to a request, which is made again after a fault that may pass.

        Raises `ServerError` with the last fault.
        """
        wait = FIRST_WAIT
        for left in range(self.server.retries, -1, -1):
            try:
                return await self._once("POST", path, body)
            except _MissingError as error:
                raise UselessServerError(str(error)) from error
            except _PassingError as error:
                if not left:
                    often = f", {self.server.retries + 1} times" if self.server.retries else ""
                    raise error.fault(f"{error}{often}") from error
                await asyncio.sleep(max(wait, error.wait))
            wait = min(2 * wait, LONGEST_WAIT)
        raise AssertionError("unreachable")

    async def _once(self, verb: str, path: str, body: Any = None) -> dict[str, Any]:
        try:
            address = f"{self.server.url.rstrip('/')}/{path}"
            answer = await self.client.request(verb, address, json=body)
        except httpx2.InvalidURL as error:
            raise ValueError(f"url={self.server.url!r} is no address: {error}") from error
        except (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.UnsupportedProtocol) as error:
            told = f"{self.server.url}: nothing answers there ({_words(error)})"
            raise _PassingError(told, UselessServerError) from error
        except httpx2.TimeoutException as error:  # to wait as long again would help nobody
            within = f"no answer within {self.server.timeout:g} s"
            raise ServerError(f"{self.server.url}: {within}; give a longer timeout") from error
        except httpx2.HTTPError as error:
            told = f"{self.server.url}: the connection was cut ({_words(error)})"
            raise _PassingError(told, ServerError) from error
        self._check_status(answer)
        return self._read(answer)

    def _check_status(self, answer: httpx2.Response) -> None:
        code = answer.status_code
        if code < 300:
            return
        told = f"{self.server.url}: it answered {code}{_reason(answer)}"
        if code in BUSY or code >= 500:
            raise _PassingError(told, RefusedError, _asked_wait(answer))
        if code in (401, 403):
            name, has = self.server.key_from, bool(os.environ.get(self.server.key_from))
            held = f"the key was that of {name}" if has else f"no key was sent, as {name} is empty"
            raise UselessServerError(f"{told}; {held}")
        if code in (404, 405) or code < 400:
            raise _MissingError(told if _has_error(answer) else f"{told}; {IS_IT}")
        raise RefusedError(told)

    def _read(self, answer: httpx2.Response) -> dict[str, Any]:
        record = _record(answer)
        if isinstance(record, dict) and not _has_error(answer):
            return record
        if isinstance(record, dict):
            raise ServerError(f"{self.server.url}: it answered with an error{_reason(answer)}")
        told = f"{self.server.url}: it answered with {_begin(answer)}, which is no JSON object"
        raise _PassingError(told, ServerError)


class _MissingError(Exception):
    """There is nothing at an address."""


class _PassingError(Exception):
    """A fault that may pass: `fault` is what it is if it does not, `wait` how long to wait."""

    def __init__(self, told: str, fault: type[ServerError], wait: float = 0.0) -> None:
        super().__init__(told)
        self.fault, self.wait = fault, wait


def shown(names: list[str]) -> str:
    """Some names of many."""
    return (
        ", ".join(names[:10]) + (f" and {len(names) - 10} others" if names[10:] else "") or "none"
    )


def _words(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _begin(answer: httpx2.Response) -> str:
    text = " ".join(answer.text.split())
    return f"{text[:80]!r}" if text else "nothing"


def _record(answer: httpx2.Response) -> Any:
    try:
        return json.loads(answer.content)
    except (ValueError, RecursionError):
        return None


def _has_error(answer: httpx2.Response) -> bool:
    """Whether it is an error in the form of OpenAI or vLLM, so that the address is right."""
    record = _record(answer)
    return isinstance(record, dict) and bool(record.get("error") or record.get("object") == "error")


def _reason(answer: httpx2.Response) -> str:
    """What the server says of an error, in one line."""
    record = _record(answer)
    error = record.get("error", record) if isinstance(record, dict) else None
    told = error.get("message", error.get("detail")) if isinstance(error, dict) else error
    words = " ".join(str(told if told is not None else answer.text).split())
    return f" ({words[:200]})" if words else ""


def _asked_wait(answer: httpx2.Response) -> float:
    text = answer.headers.get("retry-after", "")
    return min(float(text), LONGEST_WAIT) if re.fullmatch(r"\d+(\.\d+)?", text) else 0.0
