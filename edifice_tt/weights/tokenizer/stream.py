"""Text as its tokens arrive. Knows of a tokenizer only the bytes of a token."""

import codecs

from edifice_tt.weights.tokenizer.tokenizer import Tokenizer


class TextStream:
    """Text as its tokens arrive; what it returned, joined, equals `decode` of all the ids."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._space_first = getattr(tokenizer, "space_prefix", False)  # one of a plugin may lack it

    def add(self, token_id: int) -> str:
        """The text that this token completes; a character still lacking bytes is held back."""
        text = self._tokenizer.token_bytes(token_id)
        if self._space_first and text:
            text, self._space_first = text.removeprefix(b" "), False
        return self._decoder.decode(text)

    def finish(self) -> str:
        """What is left at the end: U+FFFD for a character that was never completed."""
        return self._decoder.decode(b"", final=True)
