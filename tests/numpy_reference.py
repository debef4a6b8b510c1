"""The backbone in float64 NumPy, written from the papers and the original's facts, loop by loop.

Slow and plain on purpose: it shares no line and no trick with the library.
"""

import numpy as np


def silu(x):
    return x / (1 + np.exp(-x))


def rms_norm(x, weight, eps):
    return x / np.sqrt((x**2).mean(-1, keepdims=True) + eps) * weight


def layer_norm(x, weight, bias, eps):
    centred = x - x.mean(-1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(-1, keepdims=True) + eps) * weight + bias


def rope(x, base, start=0, factors=None):
    """x (T, E): pair (i, i + E/2) of position t turns by t * base^(-2i/E)."""
    T, E = x.shape
    out = np.empty_like(x)
    for t in range(T):
        for i in range(E // 2):
            angle = (start + t) * base ** (-2 * i / E) / (1 if factors is None else factors[i])
            a, b = x[t, i], x[t, i + E // 2]
            out[t, i] = a * np.cos(angle) - b * np.sin(angle)
            out[t, i + E // 2] = b * np.cos(angle) + a * np.sin(angle)
    return out


def causal_attention(q, k, v):
    """q (H, T, E), k and v (K, T, E) -> (H, T, E); head h reads key/value head h // (H/K)."""
    H, T, E = q.shape
    out = np.zeros_like(q)
    for h in range(H):
        g = h // (H // k.shape[0])
        for t in range(T):
            scores = np.array([q[h, t] @ k[g, s] for s in range(t + 1)]) / np.sqrt(E)
            weights = np.exp(scores - scores.max())
            weights /= weights.sum()
            out[h, t] = sum(w * v[g, s] for s, w in enumerate(weights))
    return out


def dense(x, weights, name):
    y = x @ weights[f"{name}.weight"].T
    return y + weights.get(f"{name}.bias", 0)


def backbone(x, weights, config):
    """x (T, D) -> (T, D); `weights` by our names below `backbone.`, `config` a BackboneConfig."""
    w = {name: np.asarray(value, np.float64) for name, value in weights.items()}
    E = config.head_dim

    def heads(y):
        return y.reshape(len(y), -1, E).transpose(1, 0, 2)

    for layer in range(config.num_layers):
        p = f"blocks.{layer}"
        y = rms_norm(x, w[f"{p}.attn_norm.weight"], config.norm_eps)
        q, k, v = (heads(dense(y, w, f"{p}.attn.{n}_proj")) for n in "qkv")
        q, k = (
            np.stack([rope(h, config.rope_base, factors=config.rope_factors) for h in z])
            for z in (q, k)
        )
        mixed = causal_attention(q, k, v).transpose(1, 0, 2).reshape(len(x), -1)
        x = x + dense(mixed, w, f"{p}.attn.o_proj")
        y = rms_norm(x, w[f"{p}.ffn_norm.weight"], config.norm_eps)
        gated = silu(dense(y, w, f"{p}.ffn.gate_proj")) * dense(y, w, f"{p}.ffn.up_proj")
        x = x + dense(gated, w, f"{p}.ffn.down_proj")
    if config.final_norm == "layer_norm":
        return layer_norm(x, w["final_norm.weight"], w["final_norm.bias"], config.final_norm_eps)
    return rms_norm(x, w["final_norm.weight"], config.final_norm_eps)


def test_time_compute(x, weights, config):
    """x (T, embed_dim) -> hidden (T, D), scores (T, 1); `weights` by our names."""
    w = {name: np.asarray(value, np.float64) for name, value in weights.items()}
    x = np.asarray(x, np.float64)
    if "input_projection.weight" in w:
        x = dense(x, w, "input_projection")
    below = {n.removeprefix("backbone."): v for n, v in w.items() if n.startswith("backbone.")}
    hidden = backbone(x, below, config.backbone)
    return hidden, dense(silu(dense(hidden, w, "scorer.dense1")), w, "scorer.dense2")
