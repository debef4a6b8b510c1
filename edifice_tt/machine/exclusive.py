"""One thread at a time in tinygrad: the lock of this process. Knows no tensor.

tinygrad captures, schedules and counts in state that all threads share: two captures at once are
an error, and a Tensor that one thread computes becomes part of what another captures. So whatever
makes, captures or computes Tensors does it as `exclusive`. A step that was linked already touches
nothing of tinygrad's and needs no lock.
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
        """A forked process has one thread, which must not wait for those that it lost."""
        self.lock = RLock()


exclusive = Exclusive()
