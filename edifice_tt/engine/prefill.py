"""Reads a prompt once for all decoders that share it. Knows decoders; no sampling."""

from collections.abc import Sequence

from edifice_tt.engine.decoder import Decoder, Logits


def prefill(decoders: Sequence[Decoder], ids: Sequence[int], cores: int) -> Logits:
    """Read a prompt that all decoders then share; returns the logits (V,) after it.

    The first of them reads it. On a CPU so many cores share the work of each layer.
    """
    lead, *others = decoders
    with lead.helped(cores):
        logits = lead.read_prompt(ids)
    for other in others:
        other.take_prompt(lead)
    return logits
