"""Real bytes, written here from the format's definition; nothing is read back by what wrote it."""

import math
import re
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pytest
from tinygrad import Tensor, dtypes
from tinygrad.nn.state import get_parameters, get_state_dict

from edifice_tt.contract.errors import CheckpointError
from edifice_tt.nn.buffers import CACHE_LINE
from edifice_tt.nn.cpu.replay import memory_of
from edifice_tt.nn.stored.blocks import float_state_dict
from edifice_tt.weights import gguf
from edifice_tt.weights.families.family import reorder_rows
from edifice_tt.weights.gguf import GGUFHeader, is_gguf, read_gguf
from edifice_tt.weights.gguf_model import load_gguf

F32, F16, Q4_0, Q4_1, Q8_0, Q6_K, IQ1_S = 0, 1, 2, 3, 8, 14, 19


def write_gguf(
    path: Path,
    metadata: dict[str, Any],
    tensors: dict[str, tuple[int, tuple[int, ...], bytes]],
    version: int = 3,
    alignment: int = 32,
) -> Path:
    """`tensors`: name -> ggml type, shape with rows first, bytes."""

    def text(value: str) -> bytes:
        return struct.pack("<Q", len(value.encode())) + value.encode()

    def typed(value: Any) -> tuple[int, bytes]:
        if isinstance(value, bool):
            return 7, struct.pack("<?", value)
        if isinstance(value, int):
            return 4, struct.pack("<I", value)
        if isinstance(value, float):
            return 6, struct.pack("<f", value)
        if isinstance(value, str):
            return 8, text(value)
        kinds, contents = zip(*map(typed, value), strict=True)
        return 9, struct.pack("<IQ", kinds[0], len(value)) + b"".join(contents)

    head = b"GGUF" + struct.pack("<IQQ", version, len(tensors), len(metadata))
    for key, value in metadata.items():
        kind, content = typed(value)
        head += text(key) + struct.pack("<I", kind) + content
    body = b""
    for name, (ggml_type, shape, content) in tensors.items():
        body += b"\0" * (-len(body) % alignment)
        head += text(name) + struct.pack("<I", len(shape))
        head += struct.pack(f"<{len(shape)}Q", *reversed(shape))
        head += struct.pack("<IQ", ggml_type, len(body))
        body += content
    head += b"\0" * (-len(head) % alignment)
    path.write_bytes(head + body)
    return path


def f32(array: Any) -> tuple[int, tuple[int, ...], bytes]:
    array = np.asarray(array, np.float32)
    return F32, array.shape, array.tobytes()


# Blocks of random bits under scales that are ordinary numbers, and what each format says of them.


def scales(rng: np.random.Generator, count: int) -> np.ndarray:
    return rng.uniform(-2, 2, (count, 1)).astype(np.float16)


def bits(rng: np.random.Generator, count: int, size: int) -> np.ndarray:
    return rng.integers(0, 256, (count, size), np.uint8)


def nibbles(q: np.ndarray) -> np.ndarray:
    return np.concatenate([q & 15, q >> 4], axis=1).astype(np.float32)


def make_f32(rng: np.random.Generator) -> tuple[bytes, np.ndarray]:
    x = rng.standard_normal(512).astype(np.float32)
    return x.tobytes(), x


def make_f16(rng: np.random.Generator) -> tuple[bytes, np.ndarray]:
    x = rng.standard_normal(512).astype(np.float16)
    return x.tobytes(), x.astype(np.float32)


def make_q4_0(rng: np.random.Generator) -> tuple[bytes, np.ndarray]:
    d, q = scales(rng, 16), bits(rng, 16, 16)
    return np.hstack([d.view(np.uint8), q]).tobytes(), (nibbles(q) - 8) * d.astype(np.float32)


def make_q4_1(rng: np.random.Generator) -> tuple[bytes, np.ndarray]:
    d, m, q = scales(rng, 16), scales(rng, 16), bits(rng, 16, 16)
    content = np.hstack([d.view(np.uint8), m.view(np.uint8), q]).tobytes()
    return content, nibbles(q) * d.astype(np.float32) + m.astype(np.float32)


def make_q8_0(rng: np.random.Generator) -> tuple[bytes, np.ndarray]:
    d, q = scales(rng, 16), bits(rng, 16, 32)
    return np.hstack([d.view(np.uint8), q]).tobytes(), q.view(np.int8) * d.astype(np.float32)


def make_q6_k(rng: np.random.Generator) -> tuple[bytes, np.ndarray]:
    low, high, s, d = bits(rng, 2, 128), bits(rng, 2, 64), bits(rng, 2, 16), scales(rng, 2)
    x = np.zeros((2, 256), np.float32)
    for block in range(2):
        for i in range(256):
            half, part, j = i // 128, i % 128 // 32, i % 32
            nibble = int(low[block, 64 * half + 32 * (part % 2) + j]) >> (4 if part > 1 else 0) & 15
            top = int(high[block, 32 * half + j]) >> (2 * part) & 3
            scale = np.float32(d[block, 0]) * np.float32(s.view(np.int8)[block, i // 16])
            x[block, i] = scale * (nibble + 16 * top - 32)
    return np.hstack([low, high, s, d.view(np.uint8)]).tobytes(), x


FORMATS: dict[int, Callable[[np.random.Generator], tuple[bytes, np.ndarray]]] = {
    F32: make_f32,
    F16: make_f16,
    Q4_0: make_q4_0,
    Q4_1: make_q4_1,
    Q8_0: make_q8_0,
    Q6_K: make_q6_k,
}


@pytest.mark.slow
@pytest.mark.parametrize(("alignment", "part"), [(32, 1 << 19), (64, 256)])
def test_every_format_is_dequantised_as_it_is_defined(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, alignment: int, part: int
) -> None:
    """Four tensors of each type, the types taking turns: the first two run and capture a graph, the
    others replay it, and reading any of them at another's place gives other random numbers. In one
    part, or in two."""
    monkeypatch.setattr(gguf, "_PART", part)
    rng = np.random.default_rng(0)
    made = {f"{kind}.{i}": (kind, *FORMATS[kind](rng)) for i in range(4) for kind in FORMATS}
    tensors = {name: (kind, (2, 256), content) for name, (kind, content, _) in made.items()}
    metadata = {"general.alignment": alignment}
    path = write_gguf(tmp_path / "m.gguf", metadata, tensors, alignment=alignment)
    found = read_gguf(path).tensors
    assert list(found) == list(made)
    for name, (_, _, expected) in made.items():
        assert found[name].shape == (2, 256)
        np.testing.assert_allclose(
            found[name].numpy(), expected.reshape(2, 256), rtol=1e-6, atol=1e-6, err_msg=name
        )


def test_tensors_do_not_share_memory(tmp_path: Path) -> None:
    x = np.arange(512).reshape(2, 256)
    tensors = {name: f32(x) for name in "abcd"}
    found = read_gguf(write_gguf(tmp_path / "m.gguf", {}, tensors)).tensors
    found["c"].assign(Tensor.zeros(2, 256)).realize()
    for name in "abd":
        np.testing.assert_array_equal(found[name].numpy(), x)


def test_metadata_of_every_type_is_read(tmp_path: Path) -> None:
    metadata = {
        "count": 7,
        "yes": True,
        "ratio": 0.5,
        "name": "Ωmega",
        "tokens": ["Ġa", "", "b"],
        "types": [1, 3, 1],
        "general.alignment": 64,
    }
    file = read_gguf(write_gguf(tmp_path / "m.gguf", metadata, {}))
    assert file.metadata == metadata
    assert file.tensors == {}


def test_only_a_file_with_the_magic_is_gguf(tmp_path: Path) -> None:
    (tmp_path / "other").write_bytes(b"GGU")
    assert is_gguf(write_gguf(tmp_path / "m.gguf", {}, {}))
    assert not any(map(is_gguf, (tmp_path, tmp_path / "none", tmp_path / "other")))


def small_file(path: Path) -> Path:
    metadata = {
        "general.architecture": "llama",
        "tokens": ["a", "b", "é"],
        "eps": 0.5,
        "types": [1],
    }
    return write_gguf(path, metadata, {"a.weight": f32(np.ones((2, 3))), "b": f32([1, 2])})


def test_a_truncated_file_is_one_line_naming_it(tmp_path: Path) -> None:
    path = small_file(tmp_path / "m.gguf")
    content = path.read_bytes()
    for size in [*range(0, len(content), 7), len(content) - 1]:
        path.write_bytes(content[:size])
        with pytest.raises(CheckpointError) as caught:
            read_gguf(path)
        message = str(caught.value)
        assert message.startswith(f"{path}: ")
        assert "\n" not in message
        assert size < 4 or f"the file ends at byte {size} " in message


def test_a_damaged_header_is_read_or_refused_but_nothing_else(tmp_path: Path) -> None:
    path = small_file(tmp_path / "m.gguf")
    content = np.frombuffer(path.read_bytes(), np.uint8)
    header_size = content.size - GGUFHeader(path).data.size
    rng = np.random.default_rng(0)
    refusals = []
    for _ in range(600):
        damaged = content.copy()
        where = rng.integers(4, header_size, 3)
        damaged[where] = rng.choice([0, 1, 127, 255, *rng.integers(0, 256, 4)], 3)
        path.write_bytes(damaged.tobytes())
        try:
            GGUFHeader(path)
        except CheckpointError as error:
            refusals.append(str(error))
    assert 300 < len(refusals) < 600
    assert not any("\n" in message for message in refusals)


def replaced(path: Path, old: bytes, new: bytes) -> Path:
    content = path.read_bytes()
    assert content.count(old) == 1
    assert len(old) == len(new)
    path.write_bytes(content.replace(old, new))
    return path


HUGE, OFFSET = struct.pack("<Q", 2**62), struct.pack("<Q", 32)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (b"GGUF", b"GGML", "not a GGUF file"),
        (b"GGUF\3", b"GGUF\1", "GGUF version 1 is not supported; supported: 2, 3"),
        (struct.pack("<QQ", 2, 4), struct.pack("<QQ", 2**62, 4), "its header needs byte"),
        (struct.pack("<QQ", 2, 4), struct.pack("<QQ", 2, 2**62), "its header needs byte"),
        (struct.pack("<Q", 20), HUGE, "its header needs byte"),
        (struct.pack("<IQ", 8, 3), struct.pack("<I", 8) + HUGE, "its header needs byte"),
        (struct.pack("<IQ", 4, 1), struct.pack("<I", 4) + HUGE, "its header needs byte"),
        (
            struct.pack("<IQ", 4, 1),
            struct.pack("<IQ", 13, 1),
            "'types' has a value of unknown type 13",
        ),
        (b"a.weight", b"a.we\xffght", "is not UTF-8"),
        (struct.pack("<IQQ", 2, 3, 2), struct.pack("<IQQ", 9, 3, 2), "'a.weight'"),
        (struct.pack("<QQ", 3, 2), struct.pack("<QQ", 3, 0), r"'a.weight' is F32 \[3, 0\] at 0"),
        (
            struct.pack("<QI", 2, F32) + OFFSET,
            struct.pack("<QI", 2**40, F32) + OFFSET,
            "tensor 'b' needs byte",
        ),
        (struct.pack("<IQ", 0, 32), struct.pack("<IQ", 0, 0), r"'b' is F32 \[2\] at 0, expected"),
        (
            struct.pack("<IQ", 0, 32),
            struct.pack("<IQ", IQ1_S, 32),
            r"type 19 \(IQ1_S\) of tensor 'b' is not supported; supported: F32, F16, .*Q4_K",
        ),
        (struct.pack("<IQ", 0, 32), struct.pack("<IQ", Q8_0, 32), "the first a multiple of 32"),
        (struct.pack("<IQ", 0, 32), struct.pack("<IQ", 99, 32), r"type 99 \(unknown\)"),
    ],
)
def test_each_damage_is_named(tmp_path: Path, old: bytes, new: bytes, message: str) -> None:
    path = small_file(tmp_path / "m.gguf")
    with pytest.raises(CheckpointError, match=message) as caught:
        read_gguf(replaced(path, old, new))
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_a_missing_file_and_a_tensor_twice_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="there is no such file"):
        read_gguf(tmp_path / "none.gguf")
    path = write_gguf(tmp_path / "m.gguf", {}, {"aa": f32([1.0]), "ab": f32([1.0])})
    with pytest.raises(CheckpointError, match="tensor 'aa' is there twice"):
        read_gguf(replaced(path, b"ab", b"aa"))
    with pytest.raises(CheckpointError, match=r"general\.alignment=24, expected a power of two"):
        read_gguf(write_gguf(path, {"general.alignment": 24}, {}))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_the_tensor_with_a_bad_number_is_named(tmp_path: Path, bad: float) -> None:
    """The bad tensor is the fourth of its size: the check is part of the graph that is replayed."""
    x = np.ones((2, 256), np.float32)
    tensors = {name: f32(x) for name in "abcde"}
    x[1, 200] = bad
    path = write_gguf(tmp_path / "m.gguf", {}, tensors | {"d": f32(x)})
    with pytest.raises(CheckpointError, match="weight 'd' holds NaN or infinity"):
        read_gguf(path)


# One tiny Llama: D 32, two heads of 16 over one key/value head, two layers.
V, D, H, K, E, F = 5, 32, 2, 1, 16, 64

METADATA: dict[str, Any] = {
    "general.architecture": "llama",
    "llama.block_count": 2,
    "llama.context_length": 64,
    "llama.embedding_length": D,
    "llama.feed_forward_length": F,
    "llama.attention.head_count": H,
    "llama.attention.head_count_kv": K,
    "llama.attention.layer_norm_rms_epsilon": 2**-16,
    "llama.rope.freq_base": 1024.0,
    "llama.rope.dimension_count": E,
    "tokenizer.ggml.model": "gpt2",
    "tokenizer.ggml.pre": "smollm",
    "tokenizer.ggml.tokens": ["a", "b", "ab", "<|endoftext|>"],
    "tokenizer.ggml.token_type": [1, 1, 1, 3],
    "tokenizer.ggml.merges": ["a b"],
    "tokenizer.ggml.eos_token_id": 3,
}


def llama_weights() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    shapes: dict[str, tuple[int, ...]] = {"token_embd": (V, D), "output_norm": (D,)}
    for i in range(2):
        layer = {
            "attn_norm": (D,),
            "attn_q": (H * E, D),
            "attn_k": (K * E, D),
            "attn_v": (K * E, D),
        }
        layer |= {"attn_output": (D, H * E), "ffn_norm": (D,), "ffn_gate": (F, D), "ffn_up": (F, D)}
        shapes |= {f"blk.{i}.{k}": shape for k, shape in (layer | {"ffn_down": (D, F)}).items()}
    return {
        f"{name}.weight": rng.standard_normal(shape).astype(np.float32) * shape[-1] ** -0.5
        for name, shape in shapes.items()
    }


def write_llama(path: Path, metadata: dict[str, Any] | None = None, **extra: Any) -> Path:
    """`extra`: arrays by the layer's name, or None to leave a tensor out."""
    weights = llama_weights() | {f"{name}.weight": array for name, array in extra.items()}
    kept = {name: f32(array) for name, array in weights.items() if array is not None}
    known = METADATA | (metadata or {})
    return write_gguf(path, {k: v for k, v in known.items() if v is not None}, kept)


def rotation(x: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """Each adjacent pair of x (T, E) as a complex number, turned: how the file's rows are meant."""
    theta = 1024.0 ** (-np.arange(0, E, 2) / E)
    turned = (x[:, 0::2] + 1j * x[:, 1::2]) * np.exp(1j * np.outer(positions, theta))
    return np.stack([turned.real, turned.imag], axis=-1).reshape(x.shape)


Rotate: TypeAlias = Callable[[np.ndarray, np.ndarray], np.ndarray]


def reference_logits(
    weights: dict[str, np.ndarray], tokens: list[int], rotate: Rotate = rotation
) -> np.ndarray:
    """The Llama forward pass in float64, on the file's own rows; with biases where there are."""

    def norm(x: np.ndarray, name: str) -> np.ndarray:
        return x / np.sqrt((x**2).mean(-1, keepdims=True) + 2**-16) * weights[f"{name}.weight"]

    x = weights["token_embd.weight"].astype(np.float64)[tokens]
    positions = np.arange(len(tokens))
    mask = np.where(positions[None] <= positions[:, None], 0, -np.inf)
    for i in range(2):

        def dense(y: np.ndarray, name: str, block: str = f"blk.{i}") -> np.ndarray:
            bias = weights.get(f"{block}.{name}.bias", np.zeros(1))
            return np.asarray(y @ weights[f"{block}.{name}.weight"].T + bias)

        y = norm(x, f"blk.{i}.attn_norm")
        k, v = rotate(dense(y, "attn_k"), positions), dense(y, "attn_v")
        queries = dense(y, "attn_q")
        heads = []
        for h in range(H):
            q = rotate(queries[:, h * E : (h + 1) * E], positions)
            p = np.exp(q @ k.T / math.sqrt(E) + mask)
            heads.append(p / p.sum(-1, keepdims=True) @ v)
        x = x + dense(np.concatenate(heads, axis=1), "attn_output")
        y = norm(x, f"blk.{i}.ffn_norm")
        gate = dense(y, "ffn_gate")
        x = x + dense(gate / (1 + np.exp(-gate)) * dense(y, "ffn_up"), "ffn_down")
    return norm(x, "output_norm") @ weights["token_embd.weight"].T


def test_a_loaded_model_computes_what_its_file_means(tmp_path: Path) -> None:
    model = load_gguf(write_llama(tmp_path / "m.gguf"))
    tokens = [0, 3, 1, 4, 2, 0, 1]
    np.testing.assert_allclose(
        model([tokens]).logits.numpy()[0], reference_logits(llama_weights(), tokens), atol=1e-4
    )
    assert model.config.tied_embeddings
    assert model.config.rope_factors is None
    assert model.tokenizer.encode("aab") == [0, 2]


def test_float_weights_of_a_file_begin_where_a_cache_line_does(tmp_path: Path) -> None:
    weights = get_parameters(load_gguf(write_llama(tmp_path / "m.gguf")))
    assert len(weights) >= 20
    assert [memory_of(weight) % CACHE_LINE for weight in weights] == [0] * len(weights)


def test_rows_in_half_split_order_rotate_to_the_same_scores() -> None:
    """The file's rows turned in adjacent pairs, ours in pairs half a head apart: the products of
    queries and keys agree only if every row went to its place."""
    rng = np.random.default_rng(2)
    q, k = rng.standard_normal((2, H * E, D)).astype(np.float32)
    x = rng.standard_normal((7, D))
    angles = np.outer(np.arange(7), 1024.0 ** (-np.arange(0, E, 2) / E))

    def half_split(rows: np.ndarray) -> np.ndarray:
        a, b = np.split(rows, 2, axis=1)
        cos, sin = np.cos(angles), np.sin(angles)
        return np.concatenate([a * cos - b * sin, b * cos + a * sin], axis=1)

    ours = [q.copy(), k.copy()]
    for rows in ours:
        reorder_rows(rows, H)
    for head in range(H):
        rows = slice(head * E, (head + 1) * E)
        theirs = [rotation(x @ w[rows].T, np.arange(7)) for w in (q, k)]
        mine = [half_split(x @ w[rows].T) for w in ours]
        np.testing.assert_allclose(mine[0] @ mine[1].T, theirs[0] @ theirs[1].T, rtol=1e-5)
        assert not np.allclose(ours[0][rows], q[rows])


def test_output_weight_unties_the_head_and_freqs_divide_the_angles(tmp_path: Path) -> None:
    factors = np.arange(1, E // 2 + 1, dtype=np.float32)
    extra = {"output": np.ones((V, D)), "rope_freqs": factors}
    scaling = {"llama.rope.scaling.type": "linear", "llama.rope.scaling.factor": 4.0}
    config = load_gguf(write_llama(tmp_path / "m.gguf", scaling, **extra)).config
    assert not config.tied_embeddings
    assert config.rope_factors == tuple(4.0 * factors)


def test_all_differences_are_reported_at_once(tmp_path: Path) -> None:
    extra = {
        "output_norm": None,
        "blk.1.attn_v": np.ones((K * E, D + 1)),
        "blk.1.attn_q_bias": np.ones(3),
    }
    with pytest.raises(CheckpointError, match="in 3 places") as caught:
        load_gguf(write_llama(tmp_path / "m.gguf", **extra))
    for line in (
        "missing: backbone.final_norm.weight",
        "not in the model: blk.1.attn_q_bias.weight",
        "backbone.blocks.1.attn.v_proj.weight: shape (16, 33), the model has (16, 32)",
    ):
        assert line in str(caught.value)


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"general.architecture": "mamba"}, "'mamba' is not supported; supported: .*llama"),
        ({"general.architecture": None}, "architecture None is not supported"),
        ({"llama.expert_count": 8}, "a mixture of experts is not supported"),
        ({"llama.embedding_length": None}, "'llama.embedding_length' is missing"),
        (
            {"llama.attention.head_count": 0},
            "llama.attention.head_count=0, expected a positive int",
        ),
        ({"llama.feed_forward_length": [64, 64]}, r"=\[64, 64\], expected a positive int"),
        ({"llama.attention.layer_norm_rms_epsilon": math.nan}, "=nan, expected a positive float"),
        ({"llama.attention.head_count_kv": 3}, "num_heads=2 must be a multiple of num_kv_heads=3"),
        ({"llama.rope.dimension_count": 8}, "llama.rope.dimension_count=8, expected the head's 16"),
        (
            {"llama.attention.key_length": 32},
            "llama.rope.dimension_count=16, expected the head's 32",
        ),
        ({"llama.rope.scaling.type": "su"}, "'su' is not supported; supported: linear"),
        ({"llama.rope.scale_linear": -1.0}, "scaling.factor=-1.0 must be from 0.01 to 10000"),
        ({"llama.rope.scaling.factor": -1.0}, "scaling.factor=-1.0 must be from 0.01 to 10000"),
        ({"llama.block_count": 9_999}, "llama.block_count=9999 for 20 tensors"),
        ({"llama.block_count": 3}, "missing: backbone.blocks.2"),
        ({"tokenizer.ggml.model": "bert"}, "tokenizer.ggml.model='bert'"),
        (
            {
                "tokenizer.ggml.tokens": ["a", "b", "ab", "c", "d", "e"],
                "tokenizer.ggml.token_type": [1] * 6,
            },
            "6 tokens for 5 embeddings",
        ),
    ],
)
def test_each_model_that_cannot_be_built_is_named(
    tmp_path: Path, metadata: dict[str, Any], message: str
) -> None:
    path = write_llama(tmp_path / "m.gguf", metadata)
    with pytest.raises(CheckpointError, match=message) as caught:
        load_gguf(path)
    assert str(caught.value).startswith(str(path))


REFUSED: dict[str, tuple[Any, list[Any]]] = {
    "attention.causal": (False, [True]),
    "attention.value_length": (E + 1, [E]),
    "attention.scale": (0.5, [0.0, E**-0.5]),
    "attention.sliding_window": (63, [0, 64, 4096]),
    "attention.max_alibi_bias": (8.0, [0.0]),
    "attention.clamp_kqv": (6.0, [0.0]),
    "attn_logit_softcapping": (50.0, [0.0]),
    "final_logit_softcapping": (30.0, [0.0]),
    "logit_scale": (0.25, [1.0]),
    "embedding_scale": (12.0, [1.0]),
    "residual_scale": (0.3, [1.0]),
    "rope.scaling.yarn_attn_factor": (1.2, [1.0]),
    "rope.scaling.yarn_ext_factor": (1.0, [0.0]),
    "rope.scaling.yarn_log_multiplier": (0.1, [0.0]),
    "rope.scaling.alpha": (1000.0, [0.0]),
    "use_parallel_residual": (True, [False]),
    "tensor_data_layout": ("other", ["Meta AI original pth"]),
    "expert_count": (8, [0]),
    "rope.dimension_sections": ([8, 8], []),
    "of_a_later_year": (1, []),
}


@pytest.mark.parametrize("key", REFUSED)
@pytest.mark.first(3)
def test_a_key_that_asks_for_other_numbers_is_refused_by_name(tmp_path: Path, key: str) -> None:
    path, (value, neutral) = tmp_path / "m.gguf", REFUSED[key]
    with pytest.raises(CheckpointError, match=re.escape(f"llama.{key}")) as caught:
        load_gguf(write_llama(path, {f"llama.{key}": value}))
    assert str(caught.value).startswith(f"{path}: ")
    for accepted in neutral:
        load_gguf(write_llama(path, {f"llama.{key}": accepted}))


@pytest.mark.slow
def test_keys_that_change_no_number_are_accepted(tmp_path: Path) -> None:
    without_effect = {
        "llama.vocab_size": 7,
        "llama.expert_used_count": 0,
        "llama.pooling_type": 1,
        "llama.rope.scaling.type": "none",
        "llama.rope.scaling.original_context_length": 4096,
        "llama.rope.scaling.finetuned": True,
        "general.name": "a name",
        "llamas": 3,
    }
    model = load_gguf(write_llama(tmp_path / "m.gguf", without_effect))
    tokens = [0, 3, 1, 4, 2]
    np.testing.assert_allclose(
        model([tokens]).logits.numpy()[0], reference_logits(llama_weights(), tokens), atol=1e-4
    )


@pytest.mark.parametrize(
    ("metadata", "factor"),
    [
        ({"rope.scale_linear": 4.0}, 4.0),
        ({"rope.scaling.type": "linear", "rope.scale_linear": 4.0}, 4.0),
        ({"rope.scaling.factor": 2.0, "rope.scale_linear": 4.0}, 2.0),
        ({"rope.scaling.type": "none", "rope.scale_linear": 4.0}, 1.0),
        ({"rope.scale_linear": 0.0}, 1.0),
    ],
    ids=str,
)
def test_the_older_name_of_the_linear_factor_is_read_where_the_newer_is_not_there(
    tmp_path: Path, metadata: dict[str, Any], factor: float
) -> None:
    """As llama.cpp reads them."""
    path = write_llama(tmp_path / "m.gguf", {f"llama.{k}": v for k, v in metadata.items()})
    config = load_gguf(path).config
    assert config.rope_factors == (None if factor == 1 else (factor,) * (E // 2))


def test_a_file_without_embedding_or_with_odd_freqs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"'token_embd\.weight' is missing"):
        load_gguf(write_llama(tmp_path / "m.gguf", token_embd=None))
    with pytest.raises(CheckpointError, match=r"expected F32 \(8,\)"):
        load_gguf(write_llama(tmp_path / "m.gguf", rope_freqs=np.ones(7)))


def test_activations_are_rounded_only_where_a_kernel_and_a_weight_are_there_for_it(
    tmp_path: Path,
) -> None:
    path = write_llama(tmp_path / "m.gguf")
    with pytest.raises(CheckpointError, match=r"type Q4_0, Q4_1, .*MXFP4, and this file has none"):
        load_gguf(path, activations="int8")
    with pytest.raises(ValueError, match="needs tinygrad's CPU device with clang, given PYTHON"):
        load_gguf(path, "PYTHON", activations="int8")


@pytest.mark.slow
def test_blocks_become_the_dtype_asked_for(smollm2_path: Path) -> None:
    held, model = load_gguf(smollm2_path), load_gguf(smollm2_path, dtype="float16")
    weights = get_state_dict(model)
    name = "backbone.blocks.29.attn.k_proj"
    assert weights[f"{name}.weight"].dtype == dtypes.float16
    assert not [key for key in weights if key.endswith(".blocks")]
    exact = float_state_dict(held)[f"{name}.weight"].numpy()
    assert (weights[f"{name}.weight"].numpy() == exact.astype(np.float16)).all()
    assert weights["backbone.final_norm.weight"].dtype == dtypes.float32


@pytest.mark.slow
def test_the_real_file_fills_the_real_model(smollm2_path: Path) -> None:
    assert len(GGUFHeader(smollm2_path).entries) == 272
    model = load_gguf(smollm2_path)
    weights = float_state_dict(model)
    assert len(weights) == 272
    assert weights["token_embedding.weight"].shape == (49152, 576)
    assert weights["backbone.blocks.29.attn.k_proj.weight"].shape == (192, 576)
    assert weights["backbone.blocks.29.ffn.down_proj.weight"].shape == (576, 1536)
    assert (model.config.rope_base, model.config.context_length) == (100000.0, 8192)
