"""Text to token ids and back, from GGUF files and Hugging Face folders."""

from edifice_tt.weights.tokenizer.tokenizer import TextStream, Tokenizer

__all__ = ["TextStream", "Tokenizer"]
