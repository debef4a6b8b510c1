"""What workers are sent: pickles, in which a model that a loader made is how to load it again."""

import io
import pickle
from collections.abc import Callable
from types import FunctionType
from typing import Any

from tinygrad import Tensor

from edifice_tt.architectures.causal_lm import CausalLM
from edifice_tt.architectures.copies import Stored
from edifice_tt.contract.errors import EdificeError, reason_of
from edifice_tt.nn.cache import kv_dtype_of


def pack(value: Any) -> bytes:
    """A pickle of a value. Raises `ValueError` for what workers cannot be sent."""
    packed = io.BytesIO()
    try:
        _Pickler(packed).dump(value)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise ValueError(
            f"workers cannot be sent this ({reason_of(error)}); give what stands in a module, not "
            "in a function"
        ) from error
    return packed.getvalue()


class _Pickler(pickle.Pickler):
    def reducer_override(self, given: Any) -> Any:
        if isinstance(given, CausalLM) and given.reload is not None:
            return _load, (given.reload, given.fingerprint, kv_dtype_of(given))
        if isinstance(given, Tensor):
            return Stored.restore, (Stored(given),)
        if isinstance(given, FunctionType | type) and given.__module__ == "__main__":
            raise ValueError(
                f"workers do not have the program in which {given.__name__} stands; put it into a "
                "module that they can import"
            )
        return NotImplemented


def _load(reload: Callable[[], CausalLM], fingerprint: str, kv_dtype: str) -> CausalLM:
    lm = reload()
    lm.kv_dtype = kv_dtype
    if lm.fingerprint != fingerprint:
        raise EdificeError(
            f"{lm.name} has the fingerprint {lm.fingerprint} here, and the driver's has "
            f"{fingerprint}; put the driver's file there (what was changed after loading is in no "
            "file: save that first)"
        )
    return lm
