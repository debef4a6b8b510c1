"""One actor of Ray a worker: begun, given items, replaced when it or its node ends.

Knows actors; knows no work.
"""

import logging
import os
import re
import socket
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Self

import ray
from ray.exceptions import RayError

from edifice_tt import EdificeError

REACH_S = 10.0  # for the first answer from an address
PLACE_S = 60.0  # for a worker to get its place; longer than Ray takes to begin a process


class Actor:
    """What runs on a node: a worker, begun when it is told to."""

    def begin(self, start: Callable[[], Any]) -> str:
        """Begin; tells why it is refused."""
        self.worker = start()
        return str(self.worker.refused)

    def work(self, item: Any) -> list[Any]:
        """The results of an item."""
        return list(self.worker(item))

    def ping(self) -> None:
        """It has a place."""


class Ray:
    """So many actors with so many cores and GPUs each; by default as many as there is room for.

    Raises `EdificeError` where no cluster is, and where it has no room for so many.
    """

    def __init__(self, address: str, workers: int | None, cores: int, gpus: int) -> None:
        self.address, self.cores, self.gpus = address, cores, gpus
        self._connect()
        room = sum(self._room(node) for node in ray.nodes() if node["Alive"])
        self.workers = room if workers is None else workers
        if self.workers > room or not room:
            ray.shutdown()
            raise EdificeError(
                f"Ray at {address} has room for {room} workers of {cores} cores"
                + f" and {gpus} GPUs" * bool(gpus)
                + ("" if workers is None else f", and {workers} are asked for")
                + "; ask for fewer or smaller ones"
            )

    def _connect(self) -> None:
        if found := re.fullmatch(r"(?:ray://)?\[?([^\]]+)\]?:(\d+)", self.address):
            try:  # Ray itself would try for minutes
                speaks = _speaks_grpc(found[1], int(found[2]))
            except (OSError, OverflowError) as error:
                raise EdificeError(f"Ray: nobody answers at {self.address} ({error})") from error
            if not speaks:
                raise EdificeError(f"Ray: no cluster at {self.address} (what listens is no Ray)")
        elif self.address != "auto":
            raise EdificeError(
                f"Ray: {self.address!r} is no address; give HOST:PORT, or auto for the cluster of "
                "this machine"
            )
        self._ours = not ray.is_initialized()
        if not self._ours:
            return
        try:
            ray.init(address=self.address, log_to_driver=False, logging_level=logging.CRITICAL)
        except Exception as error:  # what answers may be anything
            told = " ".join(str(error).split())[:200] or type(error).__name__
            raise EdificeError(f"Ray: no cluster at {self.address} ({told})") from error

    def _room(self, node: dict[str, Any]) -> int:
        has = node["Resources"]
        places = int(has.get("CPU", 0) // self.cores)
        return min(places, int(has.get("GPU", 0) // self.gpus)) if self.gpus else places

    def __enter__(self) -> Self:
        self._hands: set[_Hand] = set()
        return self

    def __exit__(self, *_: object) -> None:
        for hand in self._hands:
            with suppress(RayError):
                ray.kill(hand.actor)
        if self._ours:
            ray.shutdown()

    def map_unordered(self, start: Callable[[], Any], items: Any) -> Iterator[Any]:
        """What the actors make of the items, as each of them is done."""
        begin = ray.put(start)
        calls: dict[Any, _Hand] = {}
        for _ in range(self.workers):
            self._hire(begin, calls)
        idle: list[_Hand] = []
        while self._hands and (items.waiting or any(hand.has is not None for hand in self._hands)):
            while idle and (taken := items.take()) is not None:
                hand = idle.pop()
                hand.has, item = taken
                calls[hand.actor.work.remote(item)] = hand
            for call in self._done(calls):
                hand = calls.pop(call)
                try:
                    result = ray.get(call)
                except RayError as error:
                    if hand in self._hands:  # else another of its calls has told
                        self._hands.discard(hand)
                        self._lost(hand, error, items)
                        if hand.begun:  # one that ends at its beginning would do so again
                            self._hire(begin, calls)
                    continue
                if result is None:
                    hand.placed = True
                elif isinstance(result, str) and result:
                    items.refuse(result)
                    self._hands.discard(hand)
                    with suppress(RayError):
                        ray.kill(hand.actor)
                else:
                    yield from result
                    if hand.has is not None:
                        items.done(hand.has)
                    hand.begun, hand.has = True, None
                    idle.append(hand)

    def _hire(self, start: Any, calls: dict[Any, "_Hand"]) -> None:
        hand = _Hand(ray.remote(Actor).options(num_cpus=self.cores, num_gpus=self.gpus).remote())
        self._hands.add(hand)
        calls[hand.actor.ping.remote()] = calls[hand.actor.begin.remote(start)] = hand

    def _done(self, calls: dict[Any, "_Hand"]) -> list[Any]:
        """The calls that have ended; Ray itself may wait for a place for ever, and says nothing."""
        if not calls:
            return []
        done: list[Any] = ray.wait([*calls], num_returns=len(calls), timeout=0)[0]
        if not done:
            has_place = any(hand.placed for hand in calls.values())
            done = ray.wait([*calls], timeout=None if has_place else PLACE_S)[0]
        if not done:
            free = ray.available_resources().get("CPU", 0)
            raise EdificeError(
                f"Ray at {self.address} gave no worker a place within {PLACE_S:.0f} s; {free:g} "
                f"cores are free, and a worker needs {self.cores}"
            )
        return done

    def _lost(self, hand: "_Hand", error: RayError, items: Any) -> None:
        reason = f"{type(error).__name__}: {' '.join(str(error).split()):.200}"
        if hand.has is None:
            items.refuse(f"an actor ended before it had begun ({reason})")
        else:
            items.lost(hand.has, reason)


def _speaks_grpc(host: str, port: int) -> bool:
    """Whether a server greets as one of gRPC does, by settings of HTTP/2; raises `OSError`."""
    with socket.create_connection((host, port), REACH_S) as connection:
        if os.environ.get("RAY_USE_TLS") == "1":
            return True  # as far as can be told without its certificates
        connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0)))
        return connection.recv(9)[3:4] == b"\4"


@dataclass(eq=False)
class _Hand:
    """An actor, whether it has a place and has begun, and the number of the item that it has."""

    actor: Any
    placed: bool = False
    begun: bool = False
    has: int | None = None
