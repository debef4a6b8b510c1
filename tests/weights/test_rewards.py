"""A judge's files: which kind one is, its head in folders and GGUF files, what is refused."""

import json

import numpy as np
import pytest
from judge_models import MERGES, TWO_LAYERS, Tiny, bpe
from test_gguf import f32, write_gguf
from test_model_families import q8_0
from tinygrad import Tensor

import edifice_tt as et
from edifice_tt.contract.errors import CheckpointError, EdificeError
from edifice_tt.scoring.judges.load import describe_reward
from edifice_tt.weights.rewards.kinds import kind_of
from edifice_tt.weights.safetensors import write_safetensors

CLASSIFIER = "ForSequenceClassification"
QUESTION, ANSWERS = "What is 2 + 3?", ["5", "", "It is 6.\n\nOr 5."]
LINEAR = {"v_head.summary.weight": (1, 24), "v_head.summary.bias": (1,)}


@pytest.mark.parametrize(
    ("architectures", "head", "kind"),
    [
        (["Qwen3ForSequenceClassification"], ["score.weight"], "classifier"),
        (["Qwen2ForRewardModel"], ["score.0.weight"], "reward_model"),
        (["Qwen2ForProcessRewardModel"], ["score.0.weight"], "process_reward_model"),
        (["Qwen2ForPrmModel"], ["v_head.summary.weight"], "process_value_head"),
        (["MistralForTokenClassification"], ["score.weight"], "token_classifier"),
        (["LlamaForCausalLM"], ["v_head.summary.weight"], "value_head"),
        ([], ["v_head.summary.0.weight", "v_head.summary.2.weight"], "value_head"),
        ([], ["score.weight"], "classifier"),
        ([], ["score.weight", "score.bias"], "token_classifier"),
    ],
)
def test_a_config_names_the_kind(architectures, head, kind):
    assert kind_of(architectures, head).name == kind


@pytest.mark.parametrize(
    ("architectures", "head", "message"),
    [
        (["LlamaForCausalLM"], [], "a language model without the head of a judge; name how it"),
        ([], [], "a language model without the head of a judge"),
        (["LlamaForRewardModelWithGating"], ["gating.weight"], "names LlamaForRewardModelWithGat"),
        (["LlamaForCausalLM"], ["score.weight"], r"the head score.weight is of no kind"),
    ],
)
def test_what_is_no_judge_that_is_known_is_refused_by_name(architectures, head, message):
    with pytest.raises(ValueError, match=message):
        kind_of(architectures, head)


def spoilt(path, ending=CLASSIFIER, change=lambda weights: None, **options):
    tiny = Tiny(ending, **options)
    change(tiny.weights)
    return tiny.write(path / "m")


def drop(name):
    return lambda weights: weights.pop(name)


def put(name, value):
    return lambda weights: weights.update({name: np.array(value, np.float32)})


@pytest.mark.parametrize(
    ("ending", "change", "options", "message"),
    [
        (CLASSIFIER, drop("score.weight"), {}, "classifier is score.weight, given none; download"),
        (CLASSIFIER, put("score.bias", [1]), {}, "classifier is score.weight, given score.bias, s"),
        ("ForRewardModel", drop("score.2.bias"), {}, "is score.0.weight, score.0.bias, score.2.we"),
        (CLASSIFIER, put("score.weight", np.ones((1, 7))), {}, r"\(1, 7\), expected \(labels, 24"),
        (CLASSIFIER, put("score.weight", np.full((1, 24), np.nan)), {}, "'score.weight' holds NaN"),
        ("ForPrmModel", put("v_head.summary.bias", [np.inf]), {}, "summary.bias' holds NaN or inf"),
        ("ForPrmModel", put("v_head.summary.bias", [1, 2]), {}, r"has shape \(2,\), expected \(1,"),
        (CLASSIFIER, put("model.norm.weight", np.full(24, np.inf)), {}, "'model.norm.weight' hol"),
        (CLASSIFIER, put("model.more", [1]), {}, "not in the model: model.more"),
        (CLASSIFIER, len, {"id2label": {"0": "a", "1": "b"}}, "for each of 1 l"),
        (CLASSIFIER, len, {"id2label": {"7": "a"}}, "id2label={'7': 'a'}, expected a name for"),
        (CLASSIFIER, len, {"id2label": ["a"]}, r"id2label=\['a'\], expected a name for"),
        (CLASSIFIER, len, {"num_labels": 3}, "num_labels=3, the head has 1"),
        (CLASSIFIER, len, {"num_labels": "1"}, "num_labels='1', the head has 1"),
        (CLASSIFIER, len, {"head": {"score.weight": (3, 24)}}, "3 labels, and a "),
        (CLASSIFIER, len, {"pad_token_id": "a"}, "pad_token_id='a', expected a token id"),
        ("ForCausalLM", len, {}, "a language model without the head of a"),
    ],
)
def test_what_does_not_fit_in_a_folder_is_one_clear_error(
    tmp_path, ending, change, options, message
):
    folder = spoilt(tmp_path, ending, change, **options)
    with pytest.raises(CheckpointError, match=message):
        et.load_reward(folder)


def test_a_config_without_its_sizes_is_blamed_and_not_the_head(tmp_path):
    folder = spoilt(tmp_path)
    config = json.loads((folder / "config.json").read_text())
    del config["hidden_size"]
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match=r"config.json: hidden_size missing; download"):
        et.load_reward(folder)


def test_a_judge_without_its_template_is_refused_and_may_have_a_prompt(tmp_path):
    folder = Tiny(CLASSIFIER).write(tmp_path / "m", settings={"bos_token": "<s>"})
    with pytest.raises(CheckpointError, match=r"a classifier reads chats, and .* as a prompt$"):
        et.load_reward(folder)
    assert et.load_reward(folder, prompt="{question}<e>{answer}").layout.form == "literal"
    with pytest.raises(ValueError, match="no place for the answer"):
        et.load_reward(folder, prompt="{question}")


@pytest.mark.parametrize(
    ("ending", "options"),
    [
        ("ForProcessRewardModel", {}),
        ("ForCausalLM", {"kind": "plus_minus"}),
        ("ForCausalLM", {"kind": "follow_up", "prompt": "Right?"}),
    ],
    ids=["steps", "plus and minus", "next turn"],
)
def test_a_kind_that_takes_no_text_in_place_of_a_chat_is_not_told_to_take_one(
    tmp_path, ending, options
):
    folder = Tiny(ending).write(tmp_path / "m", settings={"bos_token": "<s>"})
    with pytest.raises(CheckpointError, match=r"no chat template; use a folder with \S+.jinja$"):
        et.load_reward(folder, **options)


def test_a_vocabulary_that_lacks_what_a_judge_reads_is_refused(tmp_path):
    plain = bpe().to_str().replace("<extra_0>", "<other>").replace("ĠÐºÐ\u00b8", "x")
    for ending, kind, message in (
        ("ForProcessRewardModel", None, "no token '<extra_0>', which a process_reward_model reads"),
        ("ForCausalLM", "step_tag", "the vocabulary has no token ' ки', which a step_tag reads"),
    ):
        folder = Tiny(ending).write(tmp_path / ending)
        text = json.loads(plain)
        text["model"]["merges"] = [m for m in text["model"]["merges"] if m[0] != "ĠÐº"]
        (folder / "tokenizer.json").write_text(json.dumps(text))
        with pytest.raises(EdificeError, match=message):
            et.load_reward(folder, kind=kind)
    with pytest.raises(EdificeError, match="no token 'Perhaps', which a yes_no reads"):
        et.load_reward(folder, prompt="{answer}?", labels=("Perhaps", "No"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "yes_no"}, "kind='yes_no' needs prompt"),
        ({"kind": "plus_minus", "prompt": "{answer}"}, "kind='plus_minus' takes no prompt"),
        ({"kind": "plus_minus", "labels": "+-"}, "must be two words, the good one first"),
        ({"kind": "plus_minus", "labels": ("+", "+")}, "must be two words"),
        ({"kind": "step_tag", "label": 1}, "a step_tag takes labels"),
        ({"labels": ("+", "-")}, r"labels=\('\+', '-'\) are for plus_minus"),
        ({"marker": "<extra_0>"}, "marker='<extra_0>' is for kinds with one behind each step"),
        ({"activations": "int8"}, "activations='int8' is for GGUF files"),
        ({"kind": "plus_minus"}, "kind='plus_minus' is for a language model without a head, and"),
        ({"kind": "plus_minus", "labels": (1, 2)}, "must be two words"),
        ({"kind": "plus_minus", "labels": 5}, "must be two words"),
        ({"label": True}, "label=True is not one of 0 to 0"),
        ({"prompt": 5}, "prompt=5 must be a text"),
        ({"marker": 5}, "marker=5 must be a text"),
        ({"name": 5}, "name=5 must be a text"),
        ({"name": ""}, "name='' must be a name, in one line"),
        ({"name": "a\nb"}, "must be a name, in one line"),
    ],
)
def test_options_that_do_not_fit_are_refused(tmp_path, options, message):
    folder = Tiny("ForCausalLM", head=LINEAR).write(tmp_path / "m")
    with pytest.raises(ValueError, match=message):
        et.load_reward(folder, **options)


def test_a_judge_is_no_language_model(tmp_path):
    folder = Tiny(CLASSIFIER).write(tmp_path / "m")
    file = write_file(tmp_path / "m.gguf", Tiny(CLASSIFIER, "qwen2"))
    for path, name in ((folder, "score.weight"), (file, "cls.output.weight")):
        with pytest.raises(CheckpointError, match=f"{name} is the head of a judge.*load_reward"):
            et.load_pretrained(path)


@pytest.mark.parametrize("prefix", ["model.", "module."])
def test_a_head_under_another_name_is_not_said_to_be_missing(tmp_path, prefix):
    tiny = Tiny("ForCausalLM", head=LINEAR)
    under = {name: f"{prefix}{name}" for name in LINEAR}
    folder = tiny.write(tmp_path / "m", rename=lambda name: under.get(name, name))
    with pytest.raises(CheckpointError, match=f"head {prefix}v_head.summary.bias, .* no kind"):
        et.load_reward(folder)
    with pytest.raises(CheckpointError, match=f"{prefix}v_head.summary.bias is the head of a jud"):
        et.load_pretrained(folder)


def test_an_unknown_kind_is_told_the_nearest(tmp_path):
    with pytest.raises(EdificeError, match="kind of judge 'plus-minus'; did you mean 'plus_minus'"):
        et.load_reward(tmp_path, kind="plus-minus")


@pytest.mark.slow
def test_a_value_head_is_found_under_a_wrapper_and_in_a_file_of_its_own(tmp_path):
    tiny = Tiny("ForCausalLM", head=TWO_LAYERS)
    expected = et.load_reward(tiny.write(tmp_path / "m")).rate(QUESTION, ANSWERS)
    wrapped = tiny.write(tmp_path / "w", rename=lambda n: f"pretrained_model.{n}")
    assert et.load_reward(wrapped).rate(QUESTION, ANSWERS) == expected
    apart = {name: tiny.weights.pop(name) for name in TWO_LAYERS}
    folder = tiny.write(tmp_path / "apart")
    tensors = {name: Tensor(weight).realize() for name, weight in apart.items()}
    write_safetensors(folder / "value_head.safetensors", tensors, {})
    assert et.load_reward(folder).rate(QUESTION, ANSWERS) == expected


@pytest.mark.slow
def test_the_label_that_counts_may_be_named(tmp_path):
    names = {"0": "bad", "1": "fair", "2": "good"}
    tiny = Tiny(CLASSIFIER, head={"score.weight": (3, 24)}, id2label=names)
    folder = tiny.write(tmp_path / "m")
    one, other = (et.load_reward(folder, label=label) for label in ("good", 2))
    assert one(QUESTION, ANSWERS) == other(QUESTION, ANSWERS)
    rest = [et.load_reward(folder, label=label)(QUESTION, ANSWERS) for label in (0, "fair")]
    total = np.sum([one(QUESTION, ANSWERS), *rest], axis=0)
    assert total == pytest.approx(np.ones(3))
    with pytest.raises(ValueError, match="label='poor' is not one of bad, fair, good, 0 to 2"):
        describe_reward(folder, label="poor")


def test_a_label_is_found_by_its_number_and_not_by_its_place_in_the_config(tmp_path):
    names = {"2": "good", "0": "bad", "1": "bad"}
    tiny = Tiny(CLASSIFIER, head={"score.weight": (3, 24)}, id2label=names)
    folder = tiny.write(tmp_path / "m")
    assert describe_reward(folder, label="good")["label"] == 2
    with pytest.raises(ValueError, match="label='bad' is not one of bad, bad, good, 0 to 2"):
        describe_reward(folder, label="bad")


@pytest.mark.slow
@pytest.mark.parametrize("label", [None, 0])
def test_one_label_of_a_kind_with_two_is_a_logit_and_not_always_one(tmp_path, label):
    head = {"score.weight": (1, 24), "score.bias": (1,)}
    tiny = Tiny("ForTokenClassification", head=head)
    judge = et.load_reward(tiny.write(tmp_path / "m"), label=label)
    expected = tiny.numbers(f"<s>{QUESTION}5\n¦")[:, 0]
    assert judge(QUESTION, ["5"])[0] == pytest.approx(expected, abs=2e-5)
    assert (judge.range, judge.level) == ("unbounded", "step")


def test_padding_below_zero_is_no_token(tmp_path):
    folder = Tiny(CLASSIFIER, pad_token_id=-1).write(tmp_path / "m")
    assert describe_reward(folder)["pad_token_id"] is None


# --- GGUF files, as llama.cpp's converter names what is in them

PLACES = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    **{f"self_attn.{n}_proj": f"attn_{n}" for n in "qkv"},
    "self_attn.o_proj": "attn_output",
    **{f"mlp.{n}_proj": f"ffn_{n}" for n in ("gate", "up", "down")},
    "model.layers.": "blk.",
    "score": "cls.output",
}


def write_file(path, tiny, blocks=f32, pooling=4, template=True, **more):
    config, vocab = tiny.config, bpe().get_vocab()
    tokens = sorted(vocab, key=vocab.get)
    specials = bpe().get_added_tokens_decoder()
    metadata = {
        "general.architecture": "qwen2",
        "qwen2.context_length": config["max_position_embeddings"],
        "qwen2.embedding_length": config["hidden_size"],
        "qwen2.block_count": 2,
        "qwen2.attention.head_count": config["num_attention_heads"],
        "qwen2.attention.head_count_kv": 2,
        "qwen2.feed_forward_length": config["intermediate_size"],
        "qwen2.attention.layer_norm_rms_epsilon": config["rms_norm_eps"],
        "qwen2.rope.freq_base": config["rope_theta"],
        **({"qwen2.pooling_type": pooling} if pooling is not None else {}),
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "gpt-2",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": [3 if vocab[t] in specials else 1 for t in tokens],
        "tokenizer.ggml.merges": [" ".join(pair) for pair in MERGES],
        "tokenizer.ggml.eos_token_id": vocab["<e>"],
        **({"tokenizer.chat_template": tiny.template} if template else {}),
        **more,
    }
    tensors = {}
    for name, weight in tiny.weights.items():
        for old, new in PLACES.items():
            name = name.replace(old, new)
        stays = weight.ndim == 1 or name.startswith("cls") or weight.shape[1] % 32
        tensors[name] = f32(weight) if stays else blocks(weight)
    return write_gguf(path, metadata, tensors)


@pytest.mark.slow
def test_a_gguf_file_with_a_head_is_the_judge_of_its_folder(tmp_path):
    tiny = Tiny(CLASSIFIER, "qwen2")
    expected = et.load_reward(tiny.write(tmp_path / "m")).rate(QUESTION, ANSWERS)
    judge = et.load_reward(write_file(tmp_path / "m.gguf", tiny))
    assert (judge.kind.name, judge.range) == ("rank", "unbounded")
    assert judge.rate(QUESTION, ANSWERS) == expected
    about = describe_reward(tmp_path / "m.gguf")
    assert {**judge.describe(), **about} == judge.describe()


@pytest.mark.slow
def test_a_ranker_has_two_labels_and_a_template_of_its_own(tmp_path):
    tiny = Tiny(CLASSIFIER, "qwen2", head={"score.weight": (2, 24)})
    labels = {"qwen2.classifier.output_labels": ["yes", "no"]}
    ranked = {"tokenizer.chat_template.rerank": "<h>Q {query}\nA {document}<e>\n"}
    judge = et.load_reward(write_file(tmp_path / "m.gguf", tiny, **labels, **ranked))
    numbers = tiny.numbers(f"<h>Q {QUESTION}\nA 5<e>\n¦")[0]
    expected = 1 / (1 + np.exp(numbers[1] - numbers[0]))
    assert judge(QUESTION, ["5"]) == pytest.approx([expected], abs=2e-5)
    assert (judge.range, judge.labels) == ("probability", ("yes", "no"))


@pytest.mark.slow
@pytest.mark.parametrize("activations", ["float32", "int8"])
def test_a_judge_in_blocks_stays_in_blocks(tmp_path, activations):
    sizes = {"hidden_size": 64, "intermediate_size": 96}
    tiny = Tiny(CLASSIFIER, "qwen2", head={"score.weight": (1, 64)}, **sizes)
    path = write_file(tmp_path / "m.gguf", tiny, q8_0)
    judge = et.load_reward(path, activations=activations)
    assert judge.lm.activations == activations
    assert judge.lm.backbone.blocks[0].attn.q_proj.packed.kind != "F32"
    alone = [judge(QUESTION, [one])[0] for one in ANSWERS]
    assert judge(QUESTION, ANSWERS[::-1]) == alone[::-1]
    exact = et.load_reward(path, dtype="float32")(QUESTION, ANSWERS)
    apart = np.abs(np.array(alone) - exact).max()
    assert apart == 0 if activations == "float32" else 0 < apart < 0.2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"head": {}}, "pooling_type is rank, but the head cls.output.weight is missing"),
        ({"head": {}, "pooling": None}, "a language model without the head of a judge"),
        ({"template": False}, "a rank reads chats, and this one has no chat template"),
        ({"labels": ["a", "b"]}, r"classifier.output_labels=\['a', 'b'\] are not those of the"),
    ],
)
def test_a_gguf_file_that_cannot_judge_is_one_clear_error(tmp_path, change, message):
    tiny = Tiny(CLASSIFIER, "qwen2", head=change.pop("head", None))
    if "labels" in change:
        change = {"qwen2.classifier.output_labels": change["labels"]}
    path = write_file(tmp_path / "m.gguf", tiny, **change)
    with pytest.raises(CheckpointError, match=message):
        et.load_reward(path)


def test_a_file_with_nan_in_its_head_is_refused(tmp_path):
    tiny = Tiny(CLASSIFIER, "qwen2")
    tiny.weights["score.weight"][0, 5] = np.nan
    with pytest.raises(CheckpointError, match=r"'cls.output.weight' holds NaN"):
        et.load_reward(write_file(tmp_path / "m.gguf", tiny))
