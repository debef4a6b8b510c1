"""Checks that a model fits into memory before it is built. Knows no architecture."""

from edifice_tt.machine.memory import available_bytes, check_room
from edifice_tt.nn.buffers import expect

_ADVICE = "give smaller sizes, or use a device with more memory"


def check_buildable(architecture: str, num_weights: int, device: str) -> None:
    """Raise if the device, or the file being loaded, cannot hold so many weights."""
    expect(num_weights)
    needed, available = 4 * num_weights, available_bytes(device)
    check_room(f"a {architecture} of {num_weights} numbers", needed, available, device, _ADVICE)
