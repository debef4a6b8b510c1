"""GGUF files of published models' shapes, with random weights in the mixes that llama.cpp writes.

Blocks are written as they are, with scales that make each weight about as large as a trained one.
The vocabulary is of the published size, and merges letters.
"""

import struct
from collections.abc import Iterator
from itertools import islice, product
from pathlib import Path
from string import ascii_lowercase
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray


class Shape(NamedTuple):
    architecture: str
    hidden: int
    layers: int
    heads: int
    kv_heads: int
    head: int
    ffn: int
    vocab: int
    rope_base: float


SHAPES = {
    "tiny": Shape("llama", 256, 1, 4, 2, 64, 512, 300, 1e4),
    "Qwen2.5-0.5B": Shape("qwen2", 896, 24, 14, 2, 64, 4864, 151936, 1e6),
    "Qwen3-0.6B": Shape("qwen3", 1024, 28, 16, 8, 128, 3072, 151936, 1e6),
    "Llama-3.2-1B": Shape("llama", 2048, 16, 32, 8, 64, 8192, 128256, 5e5),
    "Mistral-7B": Shape("llama", 4096, 32, 32, 8, 128, 14336, 32000, 1e4),
}
USUAL = [name for name in SHAPES if name not in ("tiny", "Mistral-7B")]  # take minutes, not hours
MIXES = ("Q4_0", "Q8_0", "Q4_K_M")
# The number of a type, weights and bytes of a block, and the offset of its scale.
_TYPES = {
    "F32": (0, 1, 4, 0),
    "Q4_0": (2, 32, 18, 0),
    "Q5_0": (6, 32, 22, 0),
    "Q8_0": (8, 32, 34, 0),
    "Q4_K": (12, 256, 144, 0),
    "Q6_K": (14, 256, 210, 208),
}
# What a scale of 1 makes of random bits on average; a weight is 0.02 then.
_SPREAD = {"Q4_0": 4.6, "Q5_0": 9.2, "Q8_0": 74, "Q4_K": 4.6 * 35, "Q6_K": 18.5 * 74}


def write_model(path: Path, name: str, mix: str) -> Path:
    """Write the file of a shape, in a mix."""
    shape, rng = SHAPES[name], np.random.default_rng(0)
    tensors = dict(_tensors(shape, mix))
    with path.open("wb") as file:
        _write_header(file, shape, tensors)
        for size, kind in tensors.values():
            file.write(b"\0" * (-file.tell() % 32))
            file.write(_weights(rng, size, kind).data)
    return path


def _tensors(shape: Shape, mix: str) -> Iterator[tuple[str, tuple[tuple[int, ...], str]]]:
    """The name of each tensor, with its size (rows first) and type."""
    attention, kv = shape.heads * shape.head, shape.kv_heads * shape.head
    large = mix == "Q4_K_M"
    most, best = ("Q4_K", "Q6_K") if large else (mix, mix)

    def matrix(rows: int, depth: int, kind: str) -> tuple[tuple[int, ...], str]:
        if depth % 256 and large:  # as llama.cpp falls back
            kind = {"Q4_K": "Q5_0", "Q6_K": "Q8_0"}[kind]
        return (rows, depth), kind

    yield "token_embd.weight", matrix(shape.vocab, shape.hidden, best)
    yield "output_norm.weight", ((shape.hidden,), "F32")
    for i in range(shape.layers):
        eighth = shape.layers // 8
        more = i < eighth or i >= 7 * shape.layers // 8 or (i - eighth) % 3 == 2
        some = best if more else most
        layer = {
            "attn_norm": ((shape.hidden,), "F32"),
            "attn_q": matrix(attention, shape.hidden, most),
            "attn_k": matrix(kv, shape.hidden, most),
            "attn_v": matrix(kv, shape.hidden, some),
            "attn_output": matrix(shape.hidden, attention, most),
            "ffn_norm": ((shape.hidden,), "F32"),
            "ffn_gate": matrix(shape.ffn, shape.hidden, most),
            "ffn_up": matrix(shape.ffn, shape.hidden, most),
            "ffn_down": matrix(shape.hidden, shape.ffn, some),
        }
        if shape.architecture == "qwen3":
            layer |= dict.fromkeys(("attn_q_norm", "attn_k_norm"), ((shape.head,), "F32"))
        for part, tensor in layer.items():
            yield f"blk.{i}.{part}.weight", tensor
        if shape.architecture == "qwen2":
            for part, size in (("q", attention), ("k", kv), ("v", kv)):
                yield f"blk.{i}.attn_{part}.bias", ((size,), "F32")


def _weights(rng: np.random.Generator, size: tuple[int, ...], kind: str) -> NDArray[Any]:
    if kind == "F32":
        return np.ones(size, np.float32)
    _, weights, size_of, at = _TYPES[kind]
    raw = rng.integers(0, 256, (size[0] * size[1] // weights, size_of), dtype=np.uint8)
    scale = 0.02 / _SPREAD[kind]
    if kind == "Q4_K":  # each minimum is half of what its scale spans, so that weights are around 0
        raw[:, 4:8] = rng.integers(16, 64, (len(raw), 4)) | 0b10000000
        raw[:, 8:12] = raw[:, 4:8]
        raw[:, 12:16] = rng.integers(0, 16, (len(raw), 4)) * 17
        raw[:, 2:4] = np.array([7.5 * scale], np.float16).view(np.uint8)
    raw[:, at : at + 2] = np.array([scale], np.float16).view(np.uint8)
    return raw


def _write_header(file: BinaryIO, shape: Shape, tensors: dict[str, Any]) -> None:
    letters = [_letter(byte) for byte in range(256)]
    words = ("".join(word) for n in (2, 3, 4) for word in product(ascii_lowercase, repeat=n))
    made = list(islice(words, shape.vocab - 257))
    metadata: dict[str, Any] = {
        "general.architecture": shape.architecture,
        f"{shape.architecture}.context_length": 8192,
        f"{shape.architecture}.embedding_length": shape.hidden,
        f"{shape.architecture}.block_count": shape.layers,
        f"{shape.architecture}.feed_forward_length": shape.ffn,
        f"{shape.architecture}.attention.head_count": shape.heads,
        f"{shape.architecture}.attention.head_count_kv": shape.kv_heads,
        f"{shape.architecture}.attention.key_length": shape.head,
        f"{shape.architecture}.attention.value_length": shape.head,
        f"{shape.architecture}.attention.layer_norm_rms_epsilon": 1e-5,
        f"{shape.architecture}.rope.freq_base": shape.rope_base,
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "llama-bpe" if shape.architecture == "llama" else "qwen2",
        "tokenizer.ggml.tokens": [*letters, *made, "<|end|>"],
        "tokenizer.ggml.token_type": [1] * (256 + len(made)) + [3],
        "tokenizer.ggml.merges": [f"{word[:-1]} {word[-1]}" for word in made],
        "tokenizer.ggml.eos_token_id": 256 + len(made),
        "tokenizer.ggml.add_bos_token": False,
    }
    file.write(b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(metadata)))
    for key, value in metadata.items():
        kind, content = _value(value)
        file.write(_text(key) + struct.pack("<I", kind) + content)
    start = 0
    for name, (size, kind) in tensors.items():
        number, weights, size_of, _ = _TYPES[kind]
        file.write(_text(name) + struct.pack(f"<I{len(size)}Q", len(size), *reversed(size)))
        file.write(struct.pack("<IQ", number, start))
        stop = start + int(np.prod(size)) // weights * size_of
        start = stop + -stop % 32


def _letter(byte: int) -> str:
    """How a byte is written in the vocabulary: as itself where it can be seen."""
    seen = [*range(33, 127), *range(161, 173), *range(174, 256)]
    return chr(byte if byte in seen else 256 + sum(b not in seen for b in range(byte)))


def _text(text: str) -> bytes:
    return struct.pack("<Q", len(text.encode())) + text.encode()


def _value(value: Any) -> tuple[int, bytes]:
    if isinstance(value, list):
        kind = 5 if isinstance(value[0], int) else 8  # llama.cpp takes signed numbers here alone
        return 9, struct.pack("<IQ", kind, len(value)) + b"".join(_value(v)[1] for v in value)
    if isinstance(value, bool):
        return 7, struct.pack("<?", value)
    if isinstance(value, int):
        return 4, struct.pack("<I", value)
    if isinstance(value, float):
        return 6, struct.pack("<f", value)
    return 8, _text(value)
