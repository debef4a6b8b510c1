"""Encodes a prompt as tokens. Knows no sampling."""

from edifice_tt.architectures.causal_lm import CausalLM


def encode_prompt(lm: CausalLM, text: str) -> list[int]:
    """The prompt's token ids. Raises `ValueError` when no room is left for an answer."""
    ids: list[int] = lm.tokenizer.encode(text)
    if len(ids) >= lm.config.context_length:
        raise ValueError(
            f"the prompt has {len(ids)} tokens, the model's context holds "
            f"{lm.config.context_length} with the answer; shorten the prompt"
        )
    return ids
