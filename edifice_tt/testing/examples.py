"""A small model and a small pool, the same on every machine. Knows no plugin."""

from importlib.util import find_spec
from typing import Any

from edifice_tt.contract import registry
from edifice_tt.doctor.formulas import fill_with_waves
from edifice_tt.pools.candidates import Candidate
from edifice_tt.pools.pool import Pool
from edifice_tt.weights.tokenizer import Tokenizer
from edifice_tt.weights.tokenizer.vocabulary import BYTES

SPECIALS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
END = 2
# As models write: empty, blank, mathematics, other alphabets, long.
TEXTS = (
    "There are 8.",
    "",
    "2, 3, 5, 7, 11, 13, 17 and 19, so the answer is $\\boxed{8}$.",
    " \n",
    "Weiß nicht 🤷",
    "-1/2",
    "word " * 300,
)
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def byte_tokenizer() -> Tokenizer:
    """A tokenizer of 259 ids with a chat template: 0 to 2 are special, 3 + b is the byte b.

    Raises `ToolchainError` when the library `tokenizers` is not installed.

    >>> byte_tokenizer().encode("A<|im_end|>")
    [68, 2]
    """
    return Tokenizer.from_gguf(
        {
            "tokenizer.ggml.model": "gpt2",
            "tokenizer.ggml.pre": "smollm",
            "tokenizer.ggml.tokens": [*SPECIALS, *sorted(BYTES, key=BYTES.__getitem__)],
            "tokenizer.ggml.token_type": [3] * len(SPECIALS) + [1] * 256,
            "tokenizer.ggml.merges": [],
            "tokenizer.ggml.bos_token_id": 1,
            "tokenizer.ggml.eos_token_id": END,
            "tokenizer.chat_template": TEMPLATE,
        }
    )


def tiny_model(scorer: str | None = "linear") -> Any:
    """A `causal_lm` over bytes with a context of 256, whose weights are formulas.

    `scorer` names its registered head. It has `byte_tokenizer` if `tokenizers` is installed.

    >>> tiny_model()([[68, 69, 2]]).scores.shape
    (1, 3, 1)
    """
    sizes = {"hidden_size": 16, "num_layers": 1, "num_heads": 2, "num_kv_heads": 1}
    options = {"vocab_size": len(SPECIALS) + 256, "context_length": 256, "scorer_hidden": 8}
    model = registry.build("causal_lm", scorer=scorer, **options, **sizes)
    fill_with_waves(model, model.device)
    model.name = "tiny"
    if find_spec("tokenizers"):
        model.tokenizer = byte_tokenizer()
    return model


def small_pool() -> Pool:
    """Six answers to one question, with token ids of `tiny_model`, answers and two scores each.

    Two answers agree, one is empty, two have no answer, and two scores are tied.

    >>> [candidate.answer for candidate in small_pool()]
    ['7', '8', '8', '', '9', '']
    """
    rows = (
        ("Seven: 2, 3, 5, 7, 11, 13, 17.", "7", 0.25, -1.5),
        ("2, 3, 5, 7, 11, 13, 17 and 19: \\boxed{8}", "8", 0.75, -0.5),
        ("The answer is 8.", "8", 0.75, -0.75),
        ("", "", 0.0, -4.0),
        ("1 and the eight primes: 9", "9", 0.5, -1.0),
        ("Weiß nicht 🤷", "", 0.125, -2.0),
    )
    return Pool(
        "How many primes are below 20?",
        tuple(_candidate(i, *row) for i, row in enumerate(rows)),
        {"model": "tiny", "seed": 0},
    )


def _candidate(index: int, text: str, answer: str, judge: float, logprob: float) -> Candidate:
    ids = (*(3 + byte for byte in text.encode()), END)
    scores = {"judge": judge, "logprob": logprob}
    return Candidate(index, text, ids, (logprob,) * len(ids), "eos", answer, scores=scores)
