"""How a model is shown: its sizes, how its weights are stored, and where. Knows no architecture."""

from typing import Any

from tinygrad.nn.state import get_parameters

from edifice_tt.contract.shown import Shown, Table
from edifice_tt.contract.wording import counted

_SIZES = ["vocab_size", "embed_dim", "context_length", "hidden_size", "num_layers", "num_heads"]
_SIZES += ["num_kv_heads", "scorer"]
_FLOATS = {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}


class Described(Shown):
    """Base class of models with a config, a backbone and a device."""

    def _line(self: Any) -> str:
        c, name = self.config, getattr(self, "name", "")
        layers = f"{counted(c.num_layers, 'layer')} of {c.hidden_size}"
        head = f", head {c.scorer}" if c.scorer else ""
        size = f"{_rounded(c.num_weights)} weights, {layers}{head}"
        return f"{name + ': ' if name else ''}{size}, {_stored(self)} on {self.device}"

    def _table(self: Any) -> Table:
        sizes = {name: getattr(self.config, name) for name in _SIZES if hasattr(self.config, name)}
        return (), [*sizes.items(), ("stored as", _stored(self)), ("device", self.device)]


def _stored(model: Any) -> str:
    """The types of a model's weights; blocks are named as in their file."""
    kinds = {kind.removesuffix(" and bias") for b in model.backbone.blocks for kind in b.kind[2:]}
    kinds = kinds or {weight.dtype.name for weight in get_parameters(model)}
    return ", ".join(sorted(_FLOATS.get(kind, kind) for kind in kinds))


def _rounded(count: int) -> str:
    return f"{count:,}" if count < 10**6 else f"{count / 1e6:,.1f} M"
