"""Which problems lack candidates, counted while pools are read. Knows pools; computes no figure."""

import warnings
from dataclasses import replace

from edifice_tt.contract.errors import PoolWarning
from edifice_tt.pools.index import leading
from edifice_tt.pools.pool import Pool
from edifice_tt.study.records import Unfinished
from edifice_tt.study.remarks import first_of_each, has_some_of, unfinished_of


class Finished:
    """Tells the finished problems from the others, which are left out unless `use` is true."""

    def __init__(self, use: bool) -> None:
        self.use, self.used = use, 0
        self._first: Unfinished | None = None
        self._shared: int | None = None

    def takes(self, pool: Pool) -> bool:
        """Whether a problem is to be measured."""
        shared = leading({candidate.index for candidate in pool})
        self._shared = shared if self._shared is None else min(self._shared, shared)
        if pool.num_missing:
            n = len(pool) + pool.num_missing
            first = self._first or Unfinished(0, pool.problem, len(pool), n, self.use)
            self._first = replace(first, problems=first.problems + 1)
        taken = self.use or not pool.num_missing
        self.used += taken
        return taken

    @property
    def record(self) -> Unfinished | None:
        """The problems that lack candidates, None if there are none."""
        return self._first and replace(self._first, first_of_each=self._shared or 0)

    def check(self) -> None:
        """Raise `ValueError` when no problem is left; warn of the unfinished."""
        some = self.record
        if not self.used and some is None:
            raise ValueError("there are no pools; give one per problem")
        if not self.used and some is not None:
            raise ValueError(
                f"every problem is unfinished: {has_some_of(some)}; complete the file with "
                "--resume (resume=True in Python), or take them as they are with --unfinished use "
                f"(unfinished='use'){first_of_each(some.first_of_each)}"
            )
        if some is not None:
            total = self.used + (0 if some.used else some.problems)
            warnings.warn(unfinished_of(some, total), PoolWarning, stacklevel=3)
