"""Each family's files, against its forward pass in float64 as the family defines it."""

import json

import numpy as np
import pytest
import tokenizers
from test_gguf import METADATA, D, E, H, K, V, f32, llama_weights, reference_logits, write_gguf
from test_huggingface import theirs, write_safetensors
from tinygrad import Tensor
from tinygrad.nn.state import get_state_dict

import edifice_tt as et
from edifice_tt.contract.errors import CheckpointError
from edifice_tt.nn.cpu.bridge import multiplies_bfloats
from edifice_tt.testing import byte_tokenizer
from edifice_tt.weights.families import FAMILIES

TOKENS = [0, 3, 1, 4, 2, 0, 1]
PLACES = {"attn_q": H * E, "attn_k": K * E, "attn_v": K * E, "attn_output": D}
PLACES |= {"ffn_gate": 64, "ffn_up": 64, "ffn_down": D}


def with_biases(*places):
    """The weights of a tiny model, with biases that move its numbers."""
    rng, weights = np.random.default_rng(7), llama_weights()
    for i in range(2):
        for place in places:
            size = PLACES[place]
            weights[f"blk.{i}.{place}.bias"] = rng.standard_normal(size).astype(np.float32)
    return weights


def half_split(x, positions):
    """Pairs half a head apart, turned: how the rows of a folder and of most families are meant."""
    angles = np.outer(positions, 1024.0 ** (-np.arange(0, E, 2) / E))
    a, b = np.split(x, 2, axis=1)
    cos, sin = np.cos(angles), np.sin(angles)
    return np.concatenate([a * cos - b * sin, b * cos + a * sin], axis=1)


def write(path, family, weights, blocks=f32):
    metadata = {key.replace("llama.", f"{family}."): value for key, value in METADATA.items()}
    metadata["general.architecture"] = family
    tensors = {name: (blocks if w.ndim == 2 else f32)(w) for name, w in weights.items()}
    return write_gguf(path, metadata, tensors)


def write_tokenizer(folder):
    bpe = tokenizers.Tokenizer(tokenizers.models.BPE({"a": 0, "b": 1, "ab": 2}, [("a", "b")]))
    bpe.pre_tokenizer = tokenizers.Tokenizer.from_str(byte_tokenizer().bpe.to_str()).pre_tokenizer
    bpe.decoder = tokenizers.decoders.ByteLevel()
    bpe.save(str(folder / "tokenizer.json"))


def write_folder(folder, lm, **config):
    """A Hugging Face folder with the weights of a model that was read from a GGUF file."""
    c, folder = lm.config, folder / "folder"
    folder.mkdir()
    said = {
        "vocab_size": c.vocab_size,
        "hidden_size": c.hidden_size,
        "rms_norm_eps": c.norm_eps,
        "num_hidden_layers": c.num_layers,
        "num_attention_heads": c.num_heads,
        "num_key_value_heads": c.num_kv_heads,
        "intermediate_size": c.ffn_size,
        "rope_theta": c.rope_base,
        "tie_word_embeddings": True,
        **config,
    }
    (folder / "config.json").write_text(json.dumps(said))
    write_tokenizer(folder)
    weights = {theirs(name): weight for name, weight in get_state_dict(lm).items()}
    write_safetensors(folder / "model.safetensors", weights, {})
    return folder


BIASED = {"qwen2": ["attn_q", "attn_k", "attn_v"], "llama": list(PLACES)}


@pytest.mark.slow
@pytest.mark.parametrize("family", BIASED)
def test_a_file_with_biases_computes_what_the_family_means(tmp_path, family):
    weights = with_biases(*BIASED[family])
    lm = et.load_pretrained(write(tmp_path / "m.gguf", family, weights))
    pairs = {} if FAMILIES[family].rotary_pairs else {"rotate": half_split}
    expected = reference_logits(weights, TOKENS, **pairs)
    assert np.abs(lm([TOKENS]).logits.numpy()[0] - expected).max() < 1e-4
    plain = reference_logits(llama_weights(), TOKENS, **pairs)
    assert np.abs(expected - plain).max() > 0.1  # or the biases would be proven by nothing


@pytest.mark.parametrize("family", BIASED)
def test_a_folder_and_a_file_of_the_same_weights_are_the_same_model(tmp_path, family):
    lm = et.load_pretrained(write(tmp_path / "m.gguf", family, with_biases(*BIASED[family])))
    options = {"attention_bias": True, "mlp_bias": True} if family == "llama" else {}
    folder = write_folder(tmp_path, lm, model_type=family, **options)
    read = et.load_pretrained(folder)
    assert read.config.biases == lm.config.biases
    assert (read([TOKENS]).logits.numpy() == lm([TOKENS]).logits.numpy()).all()


def test_a_model_with_biases_is_saved_and_loaded(tmp_path):
    lm = et.load_pretrained(write(tmp_path / "m.gguf", "qwen2", with_biases(*BIASED["qwen2"])))
    et.save(lm, tmp_path / "m.safetensors")
    again = et.load(tmp_path / "m.safetensors")
    assert again.config.biases == ("q", "k", "v")
    assert (again([TOKENS]).logits.numpy() == lm([TOKENS]).logits.numpy()).all()


def half(w):
    return 1, w.shape, w.astype(np.float16).tobytes()


def q8_0(w):
    """Blocks of 32 whole numbers with the scale 1/64."""
    q = np.clip(np.rint(w * 64), -127, 127).astype(np.int8).reshape(-1, 32)
    scale = np.full((len(q), 1), 1 / 64, np.float16)
    return 8, w.shape, np.concatenate([scale.view(np.int8), q], axis=1).tobytes()


@pytest.mark.slow
@pytest.mark.parametrize("blocks", [half, q8_0])
def test_biases_are_added_to_weights_that_stay_in_blocks(tmp_path, blocks):
    """In the whole layer that the kernel computes, and in steps of decoding."""
    path = write(tmp_path / "m.gguf", "qwen2", with_biases(*BIASED["qwen2"]), blocks)
    kept, floats = (et.load_pretrained(path, dtype=dtype) for dtype in (None, "float32"))
    assert kept.backbone.blocks[0].attn.q_proj.packed.kind != "F32"
    logits = kept([TOKENS]).logits.numpy()
    assert (logits == floats([TOKENS]).logits.numpy()).all()
    [one] = et.generate(kept, "abab", n=1, temperature=0.0, max_tokens=5)
    ids = [*kept.tokenizer.encode("abab"), *one.token_ids]
    greedy = kept([ids]).logits.numpy()[0].argmax(1)
    assert greedy[-1 - len(one.token_ids) : -1].tolist() == list(one.token_ids)
    [again] = et.generate(floats, "abab", n=1, temperature=0.0, max_tokens=5)
    assert again.token_logprobs == one.token_logprobs


@pytest.mark.slow
def test_biases_are_added_to_products_of_rounded_activations(tmp_path):
    """The error that rounding makes is small beside what the biases change."""
    weights = with_biases(*BIASED["qwen2"])
    path = write(tmp_path / "m.gguf", "qwen2", weights, q8_0)
    exact = et.load_pretrained(path)([TOKENS]).logits.numpy()
    rounded = et.load_pretrained(path, activations="int8")
    assert rounded.backbone.blocks[0].attn.q_proj.bias is not None
    found = rounded([TOKENS]).logits.numpy()
    zero = {n: np.zeros_like(w) if n.endswith(".bias") else w for n, w in weights.items()}
    plain = et.load_pretrained(write(tmp_path / "n.gguf", "qwen2", zero, q8_0))
    moved = np.abs(exact - plain([TOKENS]).logits.numpy()).mean()
    assert 0 < np.abs(found - exact).mean() < 0.1 * moved


def test_a_bias_that_is_missing_is_named(tmp_path):
    weights = with_biases(*BIASED["qwen2"])
    del weights["blk.1.attn_k.bias"]
    with pytest.raises(CheckpointError, match=r"missing: backbone.blocks.1.attn.k_proj.bias"):
        et.load_pretrained(write(tmp_path / "m.gguf", "qwen2", weights))


def test_a_bias_that_the_family_has_not_is_named(tmp_path):
    weights = with_biases(*BIASED["qwen2"], "ffn_up")
    with pytest.raises(CheckpointError, match=r"not in the model: blk.0.ffn_up.bias"):
        et.load_pretrained(write(tmp_path / "m.gguf", "qwen2", weights))


def test_a_window_that_qwen2_does_not_use_is_no_reason_to_refuse(tmp_path):
    lm = et.load_pretrained(write(tmp_path / "m.gguf", "qwen2", with_biases(*BIASED["qwen2"])))
    folder = write_folder(tmp_path, lm, model_type="qwen2", sliding_window=4)
    read = et.load_pretrained(folder)  # without `use_sliding_window` it is off
    assert (read([TOKENS]).logits.numpy() == lm([TOKENS]).logits.numpy()).all()
    config = json.loads((folder / "config.json").read_text())
    used = {"use_sliding_window": True, "max_window_layers": 1}
    (folder / "config.json").write_text(json.dumps({**config, **used}))
    assert et.load_pretrained(folder).config.windows == (0, 4)


@pytest.mark.parametrize("biases", ["q", ["q", "head"], 3])
def test_biases_that_no_layer_has_are_refused(biases):
    with pytest.raises(ValueError, match=r"biases.* some of q, k, v, o, gate, up, down"):
        et.build("causal_lm", vocab_size=V, hidden_size=16, num_heads=2, biases=biases)


@pytest.mark.slow
def test_biases_begin_at_zero_and_are_trained_like_other_weights():
    lm = et.build("causal_lm", vocab_size=V, hidden_size=16, num_heads=2, biases=["v", "q"])
    biases = {n: w for n, w in get_state_dict(lm).items() if n.endswith(".bias")}
    assert {name.split(".")[-2] for name in biases} == {"q_proj", "v_proj"}
    assert lm.config.num_weights == sum(w.numel() for w in get_state_dict(lm).values())
    loss = lm([[0, 1, 2]]).logits.square().sum()
    values = [w for n, w in biases.items() if "v_proj" in n]
    for gradient in loss.gradient(*values):
        assert np.abs(gradient.numpy()).max() > 0
    assert all(isinstance(w, Tensor) and (w.numpy() == 0).all() for w in biases.values())


def moe_files(tmp_path, family, blocks):
    """A GGUF file and a folder of one mixture, with the names that both formats give."""
    dense = (1,) if family == "qwen3moe" else ()
    options = {"vocab_size": V, "context_length": 64, "hidden_size": D, "num_layers": 3}
    options |= {"num_heads": H, "num_kv_heads": K, "head_dim": E, "ffn_size": 64, "experts": 4}
    options |= {"experts_used": 2, "expert_size": 32, "experts_normed": family == "qwen3moe"}
    options |= {"qk_norm": "head" if family == "qwen3moe" else "whole", "dense_layers": dense}
    lm = et.build("causal_lm", **options, rope_base=1024.0, norm_eps=1e-5, seed=3)
    files, tensors, weights = FAMILIES[family], {}, {}
    for name, weight in get_state_dict(lm).items():
        array = weight.numpy()
        if name == "token_embedding.weight":
            array = array * 8
        if ".experts." in name and "router" not in name:
            experts = array.reshape(4, -1, array.shape[1])
            tensors[files.rename(name, 0)] = blocks(experts)
            for i, expert in enumerate(experts):
                theirs = files.rename(name, 1).replace("EXPERT", str(i))
                weights[theirs] = Tensor(expert).realize()
        else:
            tensors[files.rename(name, 0)] = f32(array)
            weights[files.rename(name, 1)] = Tensor(array).realize()
    metadata = {key.replace("llama.", f"{family}."): one for key, one in METADATA.items()}
    metadata |= {"general.architecture": family, f"{family}.expert_count": 4}
    metadata |= {f"{family}.expert_used_count": 2, f"{family}.block_count": 3}
    metadata |= {f"{family}.expert_feed_forward_length": 32}
    return write_gguf(tmp_path / "m.gguf", metadata, tensors), weights, dense


@pytest.mark.parametrize("blocks", [f32, pytest.param(q8_0, marks=pytest.mark.slow)])
@pytest.mark.slow
@pytest.mark.parametrize("family", ["qwen3moe", "olmoe"])
def test_a_mixture_is_the_same_model_as_a_file_and_as_a_folder(tmp_path, family, blocks):
    path, weights, dense = moe_files(tmp_path, family, blocks)
    lm = et.load_pretrained(path)
    assert lm.config.dense_layers == dense
    names = {"model_type": "qwen3_moe", "moe_intermediate_size": 32, "norm_topk_prob": True}
    names |= {"mlp_only_layers": list(dense)}
    names = names if family == "qwen3moe" else {"model_type": "olmoe", "intermediate_size": 32}
    options = {**names, "num_experts": 4, "num_experts_per_tok": 2, "head_dim": E}
    sizes = {"vocab_size": V, "hidden_size": D, "num_layers": 3, "num_heads": H, "num_kv_heads": K}
    like = et.build("causal_lm", **sizes, ffn_size=64, rope_base=1024.0, norm_eps=2**-16)
    folder = write_folder(tmp_path, like, **options)
    write_safetensors(folder / "model.safetensors", weights, {})
    expected = et.load_pretrained(folder)([TOKENS]).logits.numpy()
    actual = lm([TOKENS]).logits.numpy()
    if blocks is f32:
        assert (actual == expected).all()
        return
    assert actual == pytest.approx(expected, abs=0.5)  # what the blocks round
    for activations in ("int8", "bfloat16")[: 1 + multiplies_bfloats("CPU")]:
        rounded = et.load_pretrained(path, activations=activations)
        assert rounded.activations == activations
        assert rounded([TOKENS]).logits.numpy() == pytest.approx(actual, abs=0.2)


def swapped(tmp_path):
    """A mixture whose experts stand behind another axis than the first."""

    def blocks(experts):
        return f32(experts.reshape(experts.shape[1], *experts.shape[::2]))

    return moe_files(tmp_path, "olmoe", blocks)[0]


def stacked(tmp_path):
    """A dense model of which one matrix is written as two."""
    weights = llama_weights()
    weights["blk.0.attn_q.weight"] = weights["blk.0.attn_q.weight"].reshape(2, -1, D)
    return write(tmp_path / "m.gguf", "llama", weights)


@pytest.mark.parametrize(
    ("damage", "places"),
    [
        (swapped, r"9 places(.|\n)*gate_proj.weight: shape \(32, 4, 32\)"),
        (stacked, r"1 place:(.|\n)*attn.q_proj.weight: shape \(2, 16, 32\)"),
    ],
)
def test_three_axes_are_those_of_experts_or_refused(tmp_path, damage, places):
    with pytest.raises(CheckpointError, match=places):
        et.load_pretrained(damage(tmp_path))


def test_a_matrix_of_three_axes_in_a_folder_is_refused(tmp_path):
    lm = et.load_pretrained(write(tmp_path / "m.gguf", "llama", llama_weights()))
    folder = write_folder(tmp_path, lm, model_type="llama", head_dim=E)
    weights = {theirs(name): weight for name, weight in get_state_dict(lm).items()}
    name = "model.layers.0.self_attn.q_proj.weight"
    weights[name] = weights[name].reshape(2, -1, D).contiguous().realize()
    write_safetensors(folder / "model.safetensors", weights, {})
    with pytest.raises(CheckpointError, match=r"q_proj.weight: shape \(2, 16, 32\)"):
        et.load_pretrained(folder)
