"""One task of Dask an item; each worker process begins once, with its first task.

Knows the scheduler and its workers; knows no work.
"""

import asyncio
import logging
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from threading import Lock
from typing import Any, Self

from distributed import Client, KilledWorker, Security, get_worker, rpc, wait

from edifice_tt import EdificeError

REACH_S = 10.0  # for an answer from the scheduler
GONE_S = 60.0  # without any worker; a nanny begins another within seconds

_lock, _begun = Lock(), dict[str, Any]()


def work(run: str, start: Callable[[], Any], item: Any) -> tuple[str, str, list[Any]]:
    """In a worker: its address, why it is refused, and the results of an item.

    It begins if this is its first item of the run. A process does one item at a time, however many
    threads it has.
    """
    address = str(get_worker().address)
    with _lock:
        if run not in _begun:
            _begun.clear()
            _begun[run] = start()
        worker = _begun[run]
        return (address, worker.refused, [] if worker.refused else list(worker(item)))


class Dask:
    """The workers of a scheduler, each with so many cores; those that come later work too.

    Raises `EdificeError` where no scheduler is.
    """

    def __init__(self, address: str, workers: int | None, cores: int, gpus: int) -> None:
        if not address:
            raise EdificeError("Dask: give --address tcp://HOST:PORT, that of its scheduler")
        self.address, self.cores, self.gpus = address, cores, gpus
        self._most = workers
        logging.getLogger("distributed").setLevel(logging.CRITICAL)  # faults are told by us
        self._client = _connect(address)
        about = self._client.scheduler_info(n_workers=-1)["workers"].values()
        if gpus and not any(one["resources"].get("GPU", 0) >= gpus for one in about):
            self._client.close()
            raise EdificeError(
                f"Dask at {address}: no worker has {gpus} GPUs; begin one with "
                f"--resources GPU={gpus}"
            )
        self._refused: set[str] = set()
        self._run = f"edifice-tt-{os.urandom(8).hex()}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(Exception):  # the scheduler may have gone
            self._client.close(timeout=REACH_S)

    def map_unordered(self, start: Callable[[], Any], items: Any) -> Iterator[Any]:
        """What the workers make of the items, as each of them is done."""
        try:
            yield from self._map(start, items)
        except (Exception, asyncio.CancelledError) as error:  # whatever breaks when it goes
            told = " ".join(str(error).split())[:200] or type(error).__name__
            raise EdificeError(f"Dask at {self.address} answers no more ({told})") from error

    def _map(self, start: Callable[[], Any], items: Any) -> Iterator[Any]:
        given: dict[Any, tuple[int, Any, list[str]]] = {}  # with the only workers that may do it
        seen = time.monotonic()  # when a worker was there
        while items.waiting or given:
            there = self._there()
            now = time.monotonic()
            seen = now if there else seen
            most = min(len(there), self._most or len(there))
            while len(given) < most and (taken := items.take()) is not None:
                self._submit(start, *taken, there, given)
            if not there and (self._refused or now - seen > GONE_S):
                items.refuse(f"Dask at {self.address} has no worker that can be used")
                return
            for task in [
                one for one, (*_, only) in given.items() if only and not {*only} & {*there}
            ]:
                items.lost(given.pop(task)[0], "its workers have ended")  # Dask would wait for ever
            for task in self._done([*given]):
                number, item, _ = given.pop(task)
                if task.status != "finished":
                    self._lost(task, number, items)
                    continue
                address, refused, results = task.result()
                if refused:
                    self._refused.add(address)
                    items.refuse(refused)
                    if others := self._there():
                        self._submit(start, number, item, others, given)
                    continue
                yield from results
                items.done(number)

    def _there(self) -> list[str]:
        """The addresses of the workers that are there and not refused."""
        return [one for one in self._client.nthreads() if one not in self._refused]

    def _submit(
        self,
        start: Callable[[], Any],
        number: int,
        item: Any,
        there: list[str],
        given: dict[Any, tuple[int, Any, list[str]]],
    ) -> None:
        only = there if self._refused else []  # else any, also one that comes
        how: dict[str, Any] = {"resources": {"GPU": self.gpus}} if self.gpus else {}
        how |= {"workers": only} if only else {}
        task = self._client.submit(work, self._run, start, item, pure=False, **how)
        given[task] = number, item, only

    def _done(self, tasks: list[Any]) -> list[Any]:
        """The tasks that have ended; after a second none, for workers may have gone or come."""
        try:
            return [*wait(tasks, timeout=1.0, return_when="FIRST_COMPLETED").done] if tasks else []
        except TimeoutError:
            return []
        finally:
            if not tasks:
                time.sleep(0.1)

    def _lost(self, task: Any, number: int, items: Any) -> None:
        error = task.exception() if task.status == "error" else None
        told = f"{type(error).__name__}: {' '.join(str(error).split()):.200}" if error else "lost"
        if isinstance(error, KilledWorker):  # the scheduler has tried several
            items.give_up(number, f"it cost several workers ({told})")
        else:
            items.lost(number, told)


def _connect(address: str) -> Client:
    """A client, made only where a scheduler has answered.

    Dask itself would wait for ever where something else listens. And what is left of a client that
    reached nobody takes a lock of Dask when it is collected, which may be while Dask holds it.
    """
    with ThreadPoolExecutor(1) as thread:  # this one may be in a loop of its own, as in a notebook
        try:
            thread.submit(asyncio.run, _ask(address)).result()
            return Client(address, timeout=REACH_S)
        except Exception as error:  # what answers may be anything
            told = " ".join(str(error).split())[:200] or type(error).__name__
            raise EdificeError(f"Dask: no scheduler at {address} ({told})") from error


async def _ask(address: str) -> None:
    try:
        how = {"connection_args": Security().get_connection_args("client")}  # as a client has them
        async with asyncio.timeout(REACH_S), rpc(address, timeout=REACH_S, **how) as scheduler:
            await scheduler.identity()
    except TimeoutError:
        raise TimeoutError(f"no answer within {REACH_S:g} s") from None
