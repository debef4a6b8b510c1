"""Short digests that identify a prompt, or a model's tokenizer. Knows no scorer."""

from hashlib import sha256
from typing import Any
from weakref import WeakKeyDictionary

from edifice_tt.architectures.causal_lm import CausalLM


def digest_of(text: str) -> str:
    """A short digest that identifies a text."""
    return sha256(text.encode()).hexdigest()[:16]


def tokenizer_digest(lm: CausalLM) -> str:
    """A short digest that identifies a model's tokenizer; computed once per tokenizer."""
    known, digest = _digests.get(lm, (None, ""))
    if digest == "" or known is not lm.tokenizer:
        digest = digest_of("" if lm.tokenizer is None else lm.tokenizer.identity())
        _digests[lm] = lm.tokenizer, digest
    return digest


_digests: WeakKeyDictionary[CausalLM, tuple[Any, str]] = WeakKeyDictionary()
