"""A verifier is trained on every kind of layer that a family may have."""

import numpy as np
import pytest
from tinygrad.nn.state import get_state_dict

import edifice_tt as et
from edifice_tt.engine import hidden
from edifice_tt.testing import byte_tokenizer
from edifice_tt.training.features import read_features_at

SIZES = {"vocab_size": 259, "context_length": 64, "hidden_size": 16, "num_layers": 2}
SIZES |= {"num_heads": 2, "num_kv_heads": 1, "seed": 3}
KINDS = {
    "windows, caps and two norms": {
        "windows": (4, 0),
        "norms": "both",
        "attention_softcap": 5.0,
        "activation": "gelu_tanh",
        "qk_norm": "head",
    },
    "experts": {"experts": 3, "experts_used": 2, "expert_size": 8},
    "long texts": {"long_rope_from": 9, "long_rope_factors": (1.0, 2.0, 3.0, 4.0)},
    "recurrent": {
        "recurrent_layers": (0,),
        "gated_attention": True,
        "delta_key_heads": 2,
        "delta_value_heads": 2,
        "delta_key_size": 3,
        "delta_value_size": 5,
        "delta_conv": 4,
    },
}


def pools_of(lm):
    """Answers of several lengths behind prompts of several; those that end evenly are right."""
    rng, settings = np.random.default_rng(5), {"fingerprint": lm.fingerprint}
    pools = []
    for i in range(4):
        ids = [tuple(rng.integers(3, 259, 2 + j * 3).tolist()) for j in range(4)]
        made = (et.Candidate(j, "", one, correct=j % 2 == 0) for j, one in enumerate(ids))
        pools.append(et.Pool("q" * (i + 3), tuple(made), settings, str(i)))
    return pools


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:verifier 'verifier' was trained on problem")
@pytest.mark.parametrize("kind", KINDS)
def test_a_head_is_trained_at_every_layer_with_one_reading(kind, monkeypatch):
    lm = et.build("causal_lm", **SIZES, **KINDS[kind])
    lm.tokenizer = byte_tokenizer()
    pools, read, counts = pools_of(lm), hidden.read_rows, []

    def counting(decoder, prompt_ids, rows, size, parts, *rest):
        counts.append([part.stop for part in parts])
        return read(decoder, prompt_ids, rows, size, parts, *rest)

    monkeypatch.setattr(hidden, "read_rows", counting)
    features = read_features_at(lm, pools, [1, 2])
    assert {tuple(stops) for stops in counts} == {(1, 2)}
    counts.clear()
    for layer in (1, 2):
        fit = et.fit_scorer(
            lm, pools, "linear", features=features[layer], layer=layer, epochs=2, folds=2
        )
        assert not counts
        assert all(np.isfinite(w.numpy()).all() for w in get_state_dict(fit.verifier.head).values())
        scored = et.score(lm, pools[0], fit.verifier)
        kept = fit.verifier.score_states(pools[0], features[layer].of(pools[0]))
        assert scored.candidates == kept.candidates
        counts.clear()
