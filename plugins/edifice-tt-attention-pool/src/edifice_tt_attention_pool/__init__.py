"""A scorer head in which one learned query attends over all positions up to each token.

The import is cheap: the head and tinygrad are imported when a head is made.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

from edifice_tt import hookimpl

if TYPE_CHECKING:
    from edifice_tt_attention_pool.head import AttentionPool

KEY_SIZE = 64


@hookimpl
def register_scorers(register: Callable[..., None]) -> None:
    register(
        "attention_pool",
        attention_pool,
        reads="hidden",
        range="logit",
        summary="one learned query attends over the answer so far",
    )


def attention_pool(hidden_size: int, seed: int = 0) -> "AttentionPool":
    """Make a head; the same seed gives the same weights."""
    from edifice_tt_attention_pool.head import AttentionPool

    return AttentionPool(hidden_size, KEY_SIZE, seed)
