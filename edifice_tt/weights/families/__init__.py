"""The model families: one file each, which says all that is particular about it.

A file of this folder with a `FAMILY` is a family, in GGUF files and in Hugging Face folders.
"""

from importlib import import_module
from pkgutil import iter_modules

from edifice_tt.weights.families.family import Family

_MODULES = (import_module(f"{__name__}.{module.name}") for module in iter_modules(__path__))
FAMILIES: dict[str, Family] = {
    module.FAMILY.name: module.FAMILY for module in _MODULES if hasattr(module, "FAMILY")
}


def find_family(key: str, name: object) -> Family:
    """The family that a GGUF file's `architecture` or a folder's `model_type` names.

    Raises `ValueError`, naming the key.
    """
    known = {family.name: family for family in FAMILIES.values()}
    if key == "model_type":
        known = {family.model_type or family.name: family for family in FAMILIES.values()}
        known |= {one.wrapped_in: one for one in FAMILIES.values() if one.wrapped_in}
    if not isinstance(name, str) or name not in known:
        raise ValueError(f"{key} {name!r:.60} is not supported; supported: {', '.join(known)}")
    return known[name]
