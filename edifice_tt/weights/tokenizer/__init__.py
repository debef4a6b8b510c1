"""Text to token ids and back, from GGUF files and Hugging Face folders."""

from edifice_tt.weights.tokenizer.stream import TextStream
from edifice_tt.weights.tokenizer.tokenizer import Tokenizer

__all__ = ["TextStream", "Tokenizer"]
