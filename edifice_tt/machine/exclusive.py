"""The process's lock that admits one thread at a time to tinygrad. Knows no tensor.

tinygrad captures, schedules and counts in state that all threads share. Two captures at once fail,
and a Tensor that one thread computes leaks into what another thread captures. So code that makes,
captures or computes Tensors runs as `exclusive`. A linked step touches no tinygrad state and needs
no lock.
"""

import os
from contextlib import ContextDecorator
from threading import RLock


class Exclusive(ContextDecorator):
    """`with exclusive:` and `@exclusive`; a thread that holds the lock may take it again."""

    def __init__(self) -> None:
        self.renew()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self.renew)

    def __enter__(self) -> None:
        self.lock.acquire()

    def __exit__(self, *error: object) -> None:
        self.lock.release()

    def renew(self) -> None:
        """Replace the lock after a fork: the thread that held it is not in the new process."""
        self.lock = RLock()


exclusive = Exclusive()
