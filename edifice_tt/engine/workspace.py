"""A workspace holds the decoders, prompt and caches of one call on a model.

Concurrent or nested calls on one model each have a workspace, so they never mix. A workspace is
kept for the next call, so that a second prompt compiles nothing. It is dropped with the model, or
when a weight is replaced. When weights are written to in place, it forgets what they have read.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import copy
from threading import Lock
from weakref import WeakKeyDictionary, ref

from edifice_tt.architectures.causal_lm import CausalLM
from edifice_tt.engine.decoder import Decoder
from edifice_tt.engine.programs import Programs
from edifice_tt.machine.exclusive import exclusive
from edifice_tt.nn.buffers import buffers_of, in_memory, replicate, trace
from edifice_tt.nn.cache import kv_dtype_of

SPARE = 2  # workspaces that are kept for the next calls


class Workspace:
    """One decoder per device, made on first use."""

    def __init__(self, shared: "_Shared") -> None:
        self._shared = shared
        self.by_device: dict[str, Decoder] = {}
        self._used: set[str] = set()  # the devices of this call
        self._trace: int | None = None  # of the weights, when this was used last

    def keep_up_with(self, trace: int) -> None:
        """Forget what was read with weights that were written to since."""
        if self._trace != trace:
            for decoder in self.by_device.values():
                decoder.forget_texts()
        self._trace = trace

    def decoders(self, devices: Sequence[str]) -> list[Decoder]:
        """The decoders of these devices; tinygrad's CPU devices only name cores."""
        for device in devices:
            if device not in self.by_device:
                self.by_device[device] = self._shared.decoder(device)
        self._used.update(devices)
        return [self.by_device[device] for device in devices]

    def tidy(self) -> None:
        """End a call: give back prompts of other devices that have another size than its own."""
        sizes = {name: one.prefix.capacity for name, one in self.by_device.items() if one.prefix}
        ours = {size for name, size in sizes.items() if name in self._used}
        for name, size in sizes.items():
            if ours and size not in ours:
                self.by_device[name].drop_prompt()
        self._used.clear()


class _Shared:
    """What the workspaces of a model share: programs, and weights copied to other devices."""

    def __init__(self, model: CausalLM) -> None:
        self.weights, self.kv_dtype = buffers_of(model), kv_dtype_of(model)
        self._model = ref(model)  # weak, or the table of all models would keep every model alive
        self._device = model.device
        self._programs = Programs(self.model)
        self._replicas: dict[str, CausalLM] = {}
        self.spare: list[Workspace] = []

    def model(self) -> CausalLM:
        model = self._model()
        assert model is not None
        return model

    def decoder(self, device: str) -> Decoder:
        if device == self._device or (in_memory(self._device) and in_memory(device)):
            return Decoder(self.model, self._programs)
        with exclusive:
            if device not in self._replicas:
                bare = copy(self.model())
                bare.tokenizer = None  # large, and of no use to a decoder
                self._replicas[device] = replicate(bare, device)
        replica = self._replicas[device]
        return Decoder(lambda: replica)


_shared: WeakKeyDictionary[CausalLM, _Shared] = WeakKeyDictionary()
_lock = Lock()


@contextmanager
def workspace_of(model: CausalLM) -> Iterator[Workspace]:
    """Provide a workspace of the model within this context."""
    weights, kept, now = buffers_of(model), kv_dtype_of(model), trace(model)
    with _lock:
        shared = _shared.get(model)
        # Steps read the buffers that they were linked to; weights put in their place need others.
        if shared is None or shared.weights != weights or shared.kv_dtype != kept:
            shared = _shared[model] = _Shared(model)
        workspace = shared.spare.pop() if shared.spare else Workspace(shared)
    workspace.keep_up_with(now)
    try:
        yield workspace
    finally:
        workspace.tidy()
        with _lock:
            if len(shared.spare) < SPARE:
                shared.spare.append(workspace)


def spare_decoder(model: CausalLM, device: str) -> Decoder | None:
    """The decoder that the model's next call will use on a device, if there is one."""
    with _lock:
        shared = _shared.get(model)
        alike = shared is not None and shared.kv_dtype == kv_dtype_of(model)
        spare = shared.spare[-1] if shared and alike and shared.spare else None
    return spare.by_device.get(device) if spare else None
