"""How rows are shared out over devices."""

import pytest
from tinygrad.nn.state import get_parameters

from edifice_tt.engine import lockstep
from edifice_tt.engine.decoder import Decoder
from edifice_tt.engine.draws import asked_of
from edifice_tt.engine.lockstep import devices_for, devices_to_decode, share_out


@pytest.mark.parametrize(
    ("rows", "devices", "most", "batch", "room"),
    [
        (1, 1, 32, 2, 8),
        (5, 2, 32, 3, 8),  # 3 and 2 rows, in the program that serves 8
        (16, 2, 32, 8, 8),
        (19, 2, 32, 10, 10),
        (100, 2, 32, 32, 32),  # several batches each
        (100, 2, 3, 3, 3),  # no more memory than is allowed
        (16, 1, 1, 1, 1),
    ],
)
def test_rows_are_shared_out(rows, devices, most, batch, room):
    assert share_out(rows, devices, most) == (batch, room)


@pytest.mark.parametrize(
    ("rows", "count"), [(0, 1), (1, 1), (2, 1), (3, 2), (4, 2), (5, 3), (99, 4)]
)
def test_a_device_works_where_there_are_rows_for_it(tiny_lm, monkeypatch, rows, count):
    monkeypatch.setattr(lockstep, "devices_beside", lambda device: [f"CPU:{i}" for i in range(4)])
    assert len(devices_for(tiny_lm, None, rows)) == count


@pytest.mark.parametrize(
    ("rows", "devices", "count"),
    [
        (1, ["CPU", "CPU:1"], 1),
        (7, ["CPU", "CPU:1"], 1),
        (8, ["CPU", "CPU:1"], 2),
        (8, ["CPU"], 1),
        (5, ["CPU", "A"], 2),
        (5, ["A", "B"], 2),
    ],
)
def test_a_batch_stays_together_on_a_cpu_whose_cores_all_help(
    tiny_lm, monkeypatch, rows, devices, count
):
    assert len(devices_to_decode(tiny_lm, devices, rows, 7)) == count
    monkeypatch.setattr(lockstep, "LARGE", sum(w.nbytes() for w in get_parameters(tiny_lm)))
    together = "A" not in devices
    assert len(devices_to_decode(tiny_lm, devices, rows, 7)) == (1 if together else count)


def test_devices_that_are_named_are_all_used(tiny_lm):
    assert devices_for(tiny_lm, ["CPU", "CPU:1", "CPU:2"], 1) == ["CPU", "CPU:1", "CPU:2"]


def test_a_processor_is_not_asked_to_draw(tiny_lm):
    """The host draws from its logits, where no number has to be made beforehand."""
    decoder = Decoder(lambda: tiny_lm)
    assert asked_of(decoder, lambda *_: pytest.fail("asked"), {3: "a", 5: "b"}, 1) == {
        3: None,
        5: None,
    }
