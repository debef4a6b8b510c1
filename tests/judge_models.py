"""Tiny judges of every kind, as folders and GGUF files, and what NumPy says that they score.

A text stands here as it should be read, with the sign `¦` behind each token at which it is scored.
"""

import json
from dataclasses import replace
from functools import cache

import numpy as np
import tokenizers
from numpy_reference import backbone

from edifice_tt.weights.huggingface_config import options_of

SPECIAL = ("<s>", "<h>", "</h>", "<e>", "<p>", "<extra_0>")
MERGES = [("Ð", "º"), ("Ð", "\u00b8"), ("Ġ", "Ðº"), ("ĠÐº", "Ð\u00b8")]  # the bytes of a step tag
MERGES += [("Ġ", "+"), ("Ġ", "-"), ("e", "s"), ("Y", "es"), ("N", "o")]
CHAT = (
    "{{- bos_token }}{% for m in messages %}{{- '<h>' + m['role'] + '</h>\\n\\n' "
    "+ m['content'] | trim + '<e>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{- '<h>assistant</h>\\n\\n' }}{% endif %}"
)
LINES = (
    "{% for m in messages %}{{- '<h>' + m['role'] + '\\n' + m['content'] + '<e>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{- '<h>assistant\\n' }}{% endif %}"
)
BACKBONE = {  # of `tiny_lm`'s sizes: what is compiled for one serves the other
    "vocab_size": 277,
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 64,
    "max_position_embeddings": 2048,
    "rms_norm_eps": 1e-5,
    "rope_theta": 31.0,
}
HEADS = {
    "ForSequenceClassification": {"score.weight": (1, 24)},
    "ForTokenClassification": {"score.weight": (2, 24), "score.bias": (2,)},
    "ForRewardModel": {
        "score.0.weight": (24, 24),
        "score.0.bias": (24,),
        "score.2.weight": (1, 24),
        "score.2.bias": (1,),
    },
    "ForProcessRewardModel": {
        "score.0.weight": (24, 24),
        "score.0.bias": (24,),
        "score.2.weight": (2, 24),
        "score.2.bias": (2,),
    },
    "ForPrmModel": {"v_head.summary.weight": (1, 24), "v_head.summary.bias": (1,)},
    "ForCausalLM": {},
}
TWO_LAYERS = {
    "v_head.summary.0.weight": (7, 24),
    "v_head.summary.0.bias": (7,),
    "v_head.summary.2.weight": (1, 7),
    "v_head.summary.2.bias": (1,),
}


@cache
def bpe():
    """Bytes, and the few merges that make single tokens of what judges read."""
    alphabet = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    vocab = {token: i for i, token in enumerate([*alphabet, *("".join(m) for m in MERGES)])}
    made = tokenizers.Tokenizer(tokenizers.models.BPE(vocab, MERGES))
    made.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = tokenizers.decoders.ByteLevel()
    made.add_special_tokens(list(SPECIAL))
    return made


def read(text):
    """The ids of a text with the signs taken out, and the places before the signs."""
    ids, places = [], []
    for i, part in enumerate(text.split("¦")):
        if i:
            places.append(len(ids) - 1)
        ids += bpe().encode(part, add_special_tokens=False).ids
    return ids, places


class Tiny:
    """A random judge: its config, and its weights by the names of a folder."""

    def __init__(self, ending, family="llama", seed=5, head=None, **config):
        named = {"llama": "Llama", "qwen2": "Qwen2"}[family] + ending
        self.config = {**BACKBONE, "model_type": family, "architectures": [named], **config}
        self.template = CHAT if family == "llama" else LINES
        self.options = options_of(self.config)[1]
        self.rng = np.random.default_rng(seed)
        self.head = HEADS[ending] if head is None else head
        self.weights = {name: self.draw(*shape) for name, shape in self._shapes().items()}

    def draw(self, *shape):
        return (self.rng.standard_normal(shape) * 0.4).astype(np.float32)

    def _shapes(self):
        names = ("hidden_size", "intermediate_size", "vocab_size")
        D, F, V = (self.config[name] for name in names)
        shapes = {"model.embed_tokens.weight": (V, D), "model.norm.weight": (D,)}
        if "ForCausalLM" in self.config["architectures"][0]:
            shapes["lm_head.weight"] = (V, D)
        for i in range(2):
            block = f"model.layers.{i}."
            sizes = {"self_attn.q_proj": (D, D), "self_attn.k_proj": (D // 2, D)}
            sizes |= {"self_attn.v_proj": (D // 2, D), "self_attn.o_proj": (D, D)}
            sizes |= {"mlp.gate_proj": (F, D), "mlp.up_proj": (F, D), "mlp.down_proj": (D, F)}
            norms = dict.fromkeys(("input_layernorm", "post_attention_layernorm"), (D,))
            shapes |= {f"{block}{name}.weight": size for name, size in (sizes | norms).items()}
            if self.config["model_type"] == "qwen2":
                shapes |= {
                    f"{block}self_attn.{n}_proj.bias": (D if n == "q" else D // 2,) for n in "qkv"
                }
        return shapes | self.head

    def write(self, path, tokens=True, rename=lambda name: name, settings=None):
        """The folder."""
        path.mkdir(exist_ok=True)
        (path / "config.json").write_text(json.dumps(self.config))
        header, data = {}, b""
        for name, w in self.weights.items():
            stop = len(data) + w.nbytes
            about = {"dtype": "F32", "shape": w.shape, "data_offsets": [len(data), stop]}
            header[rename(name)], data = about, data + w.tobytes()
        text = json.dumps(header).encode()
        text += b" " * (-len(text) % 8)
        (path / "model.safetensors").write_bytes(len(text).to_bytes(8, "little") + text + data)
        if tokens:
            bpe().save(str(path / "tokenizer.json"))
            said = {"bos_token": "<s>" if self.template == CHAT else None, "eos_token": "<e>"}
            said |= {"chat_template": self.template} if settings is None else settings
            (path / "tokenizer_config.json").write_text(json.dumps(said))
        return path

    def states(self, ids):
        """The hidden states (T, D) of a text."""
        ours = {}
        for name, weight in self.weights.items():
            if name.startswith("model.layers.") or name == "model.norm.weight":
                name = name.replace("model.layers.", "blocks.").replace("self_attn.", "attn.")
                name = name.replace("input_layernorm", "attn_norm").replace("mlp.", "ffn.")
                name = name.replace("post_attention_layernorm", "ffn_norm")
                ours[name.replace("model.norm", "final_norm")] = weight
        embedded = self.weights["model.embed_tokens.weight"][ids].astype(np.float64)
        # Not as it was read, so that a base that is not read is noticed.
        options = replace(self.options.backbone, rope_base=self.config["rope_theta"])
        return backbone(embedded, ours, options)

    def numbers(self, text):
        """The numbers (places, labels) of a text with signs: the head's, or all logits."""
        ids, places = read(text)
        x = self.states(ids)[places]
        w = {name: one.astype(np.float64) for name, one in self.weights.items()}
        layers = sorted({name.rpartition(".")[0] for name in self.head}) or ["lm_head"]
        for i, layer in enumerate(layers):
            x = (np.maximum(x, 0) if i else x) @ w[f"{layer}.weight"].T
            x = x + w.get(f"{layer}.bias", 0)
        return x
