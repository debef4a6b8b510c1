"""The inputs that fuzzing starts from, made by code: small, and read without an error."""

import json
import struct
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from tinygrad import Tensor

import edifice_tt as et
from edifice_tt.scoring.verifier import new_head
from edifice_tt.testing import byte_tokenizer
from edifice_tt.training.features import Features, Source, save_features
from edifice_tt.training.progress import Epoch, Fold, Progress, Run, save_run

# GGUF

_SIZES = {"embedding_length": 32, "block_count": 1, "feed_forward_length": 32, "context_length": 64}
LLAMA: dict[str, Any] = {
    "general.architecture": "llama",
    **{f"llama.{key}": size for key, size in _SIZES.items()},
    "llama.attention.head_count": 2,
    "llama.attention.head_count_kv": 1,
    "llama.attention.layer_norm_rms_epsilon": 1e-5,
    "llama.rope.freq_base": 10000.0,
    "llama.rope.scaling.type": "linear",
    "llama.rope.scaling.factor": 2.0,
    "tokenizer.ggml.model": "gpt2",
    "tokenizer.ggml.pre": "smollm",
    "tokenizer.ggml.tokens": ["a", "b", "ab", "<|im_end|>"],
    "tokenizer.ggml.token_type": [1, 1, 1, 3],
    "tokenizer.ggml.merges": ["a b"],
    "tokenizer.ggml.eos_token_id": 3,
    "tokenizer.chat_template": "{% for m in messages %}{{ m.content }}{% endfor %}",
    "split.count": 0,
}
SPACED = LLAMA | {
    "general.name": "phi-3",
    "tokenizer.ggml.model": "llama",
    "tokenizer.ggml.tokens": ["a", "\u2581", "<0x62>", "</s>"],
    "tokenizer.ggml.scores": [-1.0, -0.5, 0.0, 0.0],
    "tokenizer.ggml.token_type": [1, 1, 6, 3],
    "tokenizer.ggml.bos_token_id": 3,
    "tokenizer.ggml.unknown_token_id": 0,
    "tokenizer.ggml.add_space_prefix": True,
    "tokenizer.ggml.add_bos_token": False,
}
_SHAPES = {
    "token_embd": (4, 32),
    "output_norm": (32,),
    "blk.0.attn_norm": (32,),
    "blk.0.attn_q": (32, 32),
    "blk.0.attn_k": (16, 32),
    "blk.0.attn_v": (16, 32),
    "blk.0.attn_output": (32, 32),
    "blk.0.ffn_norm": (32,),
    "blk.0.ffn_gate": (32, 32),
    "blk.0.ffn_up": (32, 32),
    "blk.0.ffn_down": (32, 32),
}


def _text(text: str) -> bytes:
    content = text.encode(errors="replace")
    return struct.pack("<Q", len(content)) + content


def _typed(value: Any) -> tuple[int, bytes]:
    """The type's number of a JSON value, and its bytes; what GGUF has not is an empty text."""
    if isinstance(value, list):
        pairs = list(map(_typed, value)) or [(0, b"")]
        same = [content for kind, content in pairs if kind == pairs[0][0]]  # an array has one type
        return 9, struct.pack("<IQ", pairs[0][0], len(same) if value else 0) + b"".join(same)
    if isinstance(value, bool):
        return 7, bytes([value])
    if isinstance(value, int):
        return (4, struct.pack("<I", value)) if 0 <= value < 1 << 32 else (11, _whole(value))
    if isinstance(value, float):
        return 12, struct.pack("<d", value)
    return 8, _text(value if isinstance(value, str) else "")


def _whole(value: int) -> bytes:
    return struct.pack("<Q", value % (1 << 64))


def gguf(metadata: Mapping[str, Any] = LLAMA) -> bytes:
    head = b"GGUF" + struct.pack("<IQQ", 3, len(_SHAPES), len(metadata))
    for key, value in metadata.items():
        kind, content = _typed(value)
        head += _text(key) + struct.pack("<I", kind) + content
    body = b""
    for name, shape in _SHAPES.items():
        quantised = len(shape) == 2  # Q8_0: a scale and 32 numbers
        block = struct.pack("<e32b", 0.5, *range(-16, 16))
        size = int(np.prod(shape))
        head += _text(f"{name}.weight") + struct.pack("<I", len(shape))
        head += struct.pack(f"<{len(shape)}Q", *reversed(shape))
        head += struct.pack("<IQ", 8 if quantised else 0, len(body))
        body += block * (size // 32) if quantised else np.ones(size, np.float32).tobytes()
        body += bytes(-len(body) % 32)
    return head + bytes(-len(head) % 32) + body


# Our own files


@cache
def own_files(folder: Path) -> dict[str, Path]:
    """A file of each kind of ours, by what it calls its description."""
    sizes = {"vocab_size": 259, "hidden_size": 8, "num_layers": 1, "num_heads": 2}
    lm = et.build("causal_lm", **sizes, num_kv_heads=1, scorer="mlp", scorer_hidden=3)
    lm.tokenizer = byte_tokenizer()
    paths = {name: folder / f"{name}.safetensors" for name in ("options", "verifier", "features")}
    paths["run"] = folder / "run.safetensors"
    et.save(lm, paths["options"])
    options = {"scorer_hidden": 3, "dropout": 0.5, "seed": 4}
    zeros = np.zeros(8, np.float32)
    judge = et.Verifier("v", "mlp", options, 1, 8, "f", new_head("mlp", 8, options), zeros, zeros)
    judge.save(paths["verifier"])
    states = {key: np.ones((1, 3), np.float16) for key in "ab"}
    save_features(Features(SOURCE, states), paths["features"], "CPU")
    history = (Epoch(1, 1, 0.5, 0.25, 0.75),)
    run = Run((Fold(history, 1, "patience", ((0.5, 1.5),)),), Progress(history, 1, {}, {}))
    save_run(run, paths["run"], "key", "CPU")
    return paths


SOURCE = Source("f", "t", 1, "last", 3)


# A Hugging Face folder

_CONFIG = {
    "model_type": "llama",
    "vocab_size": 259,
    "hidden_size": 8,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "intermediate_size": 8,
    "max_position_embeddings": 64,
    "rms_norm_eps": 1e-5,
    "tie_word_embeddings": True,
    "rope_theta": 10000.0,
    "hidden_act": "silu",
    "sliding_window": None,
    "eos_token_id": 2,
}
LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}


@cache
def folder_weights() -> dict[str, Tensor]:
    layer, names = "model.layers.0", {"q": (8, 8), "k": (4, 8), "v": (4, 8), "o": (8, 8)}
    shapes = {f"{layer}.self_attn.{name}_proj": shape for name, shape in names.items()}
    shapes |= {f"{layer}.mlp.{name}_proj": (8, 8) for name in ("gate", "up", "down")}
    shapes |= {f"{layer}.{name}_layernorm": (8,) for name in ("input", "post_attention")}
    shapes |= {"model.embed_tokens": (259, 8), "model.norm": (8,)}
    return {f"{name}.weight": Tensor.ones(*s).contiguous().realize() for name, s in shapes.items()}


def folders() -> Iterable[bytes]:
    tokenizer = json.loads(byte_tokenizer().bpe.to_str())
    tokenizer["decoder"] = {
        "type": "ByteLevel",
        "add_prefix_space": False,
        "trim_offsets": True,
        "use_regex": True,
    }
    end = {"eos_token": "<|im_end|>", "chat_template": LLAMA["tokenizer.chat_template"]}
    index = {"weight_map": {"a": "model.safetensors"}}
    space = {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "first"}
    spaced = tokenizer | {"pre_tokenizer": space, "decoder": space}
    for config, chosen in ((_CONFIG | {"rope_scaling": LLAMA3}, tokenizer), (_CONFIG, spaced)):
        texts = (config, chosen, end, index)
        yield b"\0".join(json.dumps(one).encode() for one in texts)
