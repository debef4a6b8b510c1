"""Registers the built-in architectures."""

from collections.abc import Callable
from functools import partial
from importlib import import_module
from typing import Any

from edifice_tt.contract.hookspecs import hookimpl


@hookimpl
def register_architectures(register: Callable[..., None]) -> None:
    register(
        "test_time_compute",
        **_callables("test_time_compute"),
        summary="backbone with a scorer head: (B, T, embed_dim) -> hidden states and scores",
        source="Edifice.Meta.TestTimeCompute; Snell et al., 2024, arXiv:2408.03314",
    )
    register(
        "causal_lm",
        **_callables("causal_lm"),
        summary="language model of the Llama family with an optional scorer head",
        source="Touvron et al., 2023, arXiv:2302.13971",
    )


def _callables(module: str) -> dict[str, Callable[..., Any]]:
    def call(function: str, /, **options: Any) -> Any:
        # Imported when called: listing names needs no tinygrad.
        return getattr(import_module(f"{__name__}.{module}"), function)(**options)

    names = ("build", "output_size", "recommended_defaults")
    return {name: partial(call, name) for name in names}
