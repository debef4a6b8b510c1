"""The program of a worker process: reads items from its pipe, and ends when the driver has gone."""

import os
import pickle
from multiprocessing.connection import Connection
from queue import SimpleQueue
from threading import Thread
from typing import Any

DONE = "done"


def main(number: int) -> None:
    """Serve the driver at the other end of this file descriptor."""
    pipe: Connection[Any, Any] = Connection(number)
    heard: SimpleQueue[bytes] = SimpleQueue()
    Thread(target=_hear, args=(pipe, heard), daemon=True).start()
    worker = pickle.loads(heard.get())()
    pipe.send(worker.refused)
    while not worker.refused:
        worker(pickle.loads(heard.get()), pipe.send)
        pipe.send(DONE)


def _hear(pipe: "Connection[Any, Any]", heard: "SimpleQueue[bytes]") -> None:
    """Take in what the driver sends, also during work, so that its end is noticed at once."""
    while True:
        try:
            heard.put(pipe.recv_bytes())
        except (EOFError, OSError):
            os._exit(1)  # nobody is left to work for
