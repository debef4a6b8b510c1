"""Text to token ids and back, from GGUF files and Hugging Face folders."""

from edifice_tt.weights.tokenizer.tokenizer import PRE_TOKENIZERS, TextStream, Tokenizer

__all__ = ["PRE_TOKENIZERS", "TextStream", "Tokenizer"]
