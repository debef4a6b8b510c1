"""What many tests share. Models are small and few: tinygrad compiles every shape once."""

import numpy as np
import pytest

import edifice_tt as et
from edifice_tt.weights import catalog
from edifice_tt.weights.tokenizer import Tokenizer

# A byte is a token: the visible form that byte-level vocabularies give to each of the 256 bytes.
PRINTABLE = [*range(33, 127), *range(161, 173), *range(174, 256)]
BYTE_TOKENS = {b: chr(b) for b in PRINTABLE} | {
    b: chr(256 + n) for n, b in enumerate(b for b in range(256) if b not in PRINTABLE)
}
SPECIALS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def byte_tokenizer() -> Tokenizer:
    """Ids 0 to 2 are special, id 3 + b is the byte b."""
    return Tokenizer.from_gguf(
        {
            "tokenizer.ggml.model": "gpt2",
            "tokenizer.ggml.pre": "smollm",
            "tokenizer.ggml.tokens": SPECIALS + [BYTE_TOKENS[b] for b in range(256)],
            "tokenizer.ggml.token_type": [3, 3, 3] + [1] * 256,
            "tokenizer.ggml.merges": [],
            "tokenizer.ggml.bos_token_id": 1,
            "tokenizer.ggml.eos_token_id": 2,
            "tokenizer.chat_template": TEMPLATE,
        }
    )


@pytest.fixture(scope="session")
def tiny_lm():
    """A language model over bytes, small, random but always the same; context 256 tokens."""
    lm = et.build(
        "causal_lm",
        vocab_size=259,
        context_length=256,
        hidden_size=24,
        num_layers=2,
        num_heads=4,
        num_kv_heads=2,
        scorer="linear",
        seed=7,
    )
    # Random embeddings alone give nearly uniform logits; larger ones make some tokens likely.
    weight = lm.token_embedding.weight
    weight.replace((weight * 12).contiguous().realize())
    lm.name = "tiny"
    lm.tokenizer = byte_tokenizer()
    return lm


@pytest.fixture(scope="session")
def smollm2_path():
    """The real model's file, downloaded into the user's cache when it is not there."""
    return catalog.pull("smollm2-135m")


@pytest.fixture(scope="session")
def smollm2(smollm2_path):
    """The real model."""
    return et.load_pretrained(smollm2_path)


@pytest.fixture
def rng():
    return np.random.default_rng(11)
