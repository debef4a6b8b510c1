"""What the kit says of executors that break a promise."""

import pytest

import edifice_tt as et
from edifice_tt.testing import BrokenPromise, check_executor
from edifice_tt.workers.trial import FATAL


class Sound:
    """An executor whose worker is this process, which it would not end."""

    cores = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def results(self, worker, item):
        return worker(item)

    def map_unordered(self, start, items):
        worker = start()
        if worker.refused:
            items.refuse(worker.refused)
            return
        while (taken := items.take()) is not None:
            number, item = taken
            if item.work == FATAL:
                items.lost(number, "gone")
                continue
            yield from self.results(worker, item)
            items.done(number)


class Forgets(Sound):
    def results(self, worker, item):
        return worker(item)[:1]


class Catches(Sound):
    def results(self, worker, item):
        return [one for one in worker(item) if isinstance(one[1], int)]


class Insists(Sound):
    def map_unordered(self, start, items):
        worker = start()
        while (taken := items.take()) is not None:
            if not worker.refused and taken[1].work != FATAL:
                yield from worker(taken[1])
            items.done(taken[0])


class Breaks(Sound):
    def map_unordered(self, start, items):
        raise ConnectionError("no cluster")


def test_an_executor_that_keeps_the_contract_is_sound():
    check_executor(Sound)


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (Forgets, r"yields the result \('p0', 0\) 1 times, expected 2"),
        (Catches, "yields the faults of \\[\\], expected p4, p9, p14, p19"),
        (Insists, "where one item ends its workers, \\[\\] are given up"),
        (Breaks, "raises with {}: ConnectionError: no cluster"),
    ],
)
def test_an_executor_that_breaks_a_promise_is_told_which(broken, message):
    with pytest.raises(BrokenPromise, match=message):
        check_executor(broken)


def test_an_executor_that_works_on_with_a_refused_worker_is_told():
    class Uses(Sound):
        def map_unordered(self, start, items):
            worker = start()
            if not worker.refused:
                yield from super().map_unordered(start, items)
            while (taken := items.take()) is not None:
                items.done(taken[0])

    with pytest.raises(
        BrokenPromise, match="0 results of workers that could not begin and refuses 0"
    ):
        check_executor(Uses)


def test_only_what_is_registered_has_a_name():
    with pytest.raises(et.UnknownNameError, match="did you mean 'processes'"):
        check_executor("proceses")
