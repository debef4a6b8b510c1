"""Which item is taken when: each once, again when its worker was lost, three times at most."""

import trials

from edifice_tt.workers.items import Items


def items(*works):
    failed, told = {}, []
    return Items(iter(trials.of(*works)), failed, told.append), failed, told


def test_items_are_read_one_at_a_time():
    read = []
    left = Items((read.append(i) or trials.of(i)[0] for i in range(7)), {}, print)
    left.take()
    left.take()
    assert read == [0, 1]


def test_a_lost_item_comes_again_and_is_given_up_with_the_third_worker():
    left, failed, _ = items(3, 5)
    assert left.take()[0] == 0
    for _ in range(2):
        left.lost(0, "gone")
        assert left.waiting
        assert left.take()[1].work == 3
    left.lost(0, "signal 9")
    assert failed == {"p0": "it cost 3 workers; of the last: signal 9"}
    assert left.take()[0] == 1
    assert left.take() is None
    assert left.unfinished
    left.done(1)
    assert not left.unfinished
    assert not left.waiting


def test_a_reason_is_told_once_however_many_workers_have_it():
    left, _, told = items(3)
    for _ in range(3):
        left.refuse("another model")
    assert told == ["a worker is refused: another model"]
    assert left.unfinished
