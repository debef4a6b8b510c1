"""The block formats that stay as they are in memory: one file each, all that is known of it.

A file of this folder with a `FORMAT` is a format. Everything else is derived from it: how GGUF
files are read, what the C kernels unpack, and what products with rounded activations read.
"""

from importlib import import_module
from pkgutil import iter_modules

from edifice_tt.nn.formats.format import Format

_MODULES = [import_module(f"{__name__}.{module.name}") for module in iter_modules(__path__)]
_FOUND: list[Format] = [module.FORMAT for module in _MODULES if hasattr(module, "FORMAT")]
FORMATS = {form.name: form for form in sorted(_FOUND, key=lambda form: form.ggml_type)}
BY_TYPE = {form.ggml_type: form for form in FORMATS.values()}  # of GGUF files
