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


def gelu_tanh(x):
    return x / 2 * (1 + np.tanh((2 / np.pi) ** 0.5 * (x + 0.044715 * x**3)))


def rope(x, base, start=0, factors=None, scale=1.0, rotated=0):
    """x (T, E): pair (i, i + R/2) of position t turns by t * base^(-2i/R), of the first R of E."""
    T, R = x.shape[0], rotated or x.shape[1]
    out = x.copy()
    for t in range(T):
        for i in range(R // 2):
            angle = (start + t) * base ** (-2 * i / R) / (1 if factors is None else factors[i])
            cos, sin = np.cos(angle) * scale, np.sin(angle) * scale
            a, b = x[t, i], x[t, i + R // 2]
            out[t, i] = a * cos - b * sin
            out[t, i + R // 2] = b * cos + a * sin
    return out


def causal_attention(q, k, v, scale=0.0, cap=0.0, window=0):
    """q (H, T, E), k and v (K, T, E) -> (H, T, E); head h reads key/value head h // (H/K)."""
    H, T, E = q.shape
    out = np.zeros_like(q)
    for h in range(H):
        g = h // (H // k.shape[0])
        for t in range(T):
            seen = range(max(0, t + 1 - window) if window else 0, t + 1)
            scores = np.array([q[h, t] @ k[g, s] for s in seen]) * (scale or E**-0.5)
            if cap:
                scores = cap * np.tanh(scores / cap)
            weights = np.exp(scores - scores.max())
            weights /= weights.sum()
            out[h, t] = sum(w * v[g, s] for s, w in zip(seen, weights, strict=True))
    return out


def mixture(x, weights, name, config):
    """Of each row the experts with the largest shares, one after the other."""
    n, parts = config.experts, {}
    for part in ("gate", "up", "down"):
        parts[part] = np.split(weights[f"{name}.{part}_proj.weight"], n)
    out = np.zeros_like(x)
    for i, row in enumerate(x):
        p = np.exp(weights[f"{name}.router.weight"] @ row)
        p /= p.sum()
        used = np.argsort(-p, kind="stable")[: config.experts_used]
        shares = p[used] / (p[used].sum() if config.experts_normed else 1)
        activation = silu if config.activation == "silu" else gelu_tanh
        for e, share in zip(used, shares, strict=True):
            gated = activation(parts["gate"][e] @ row) * (parts["up"][e] @ row)
            out[i] += share * (parts["down"][e] @ gated)
    return out


def gated_delta(x, w, name, c):
    """x (T, D) -> (T, D), head by head and token by token."""
    K, V, heads = c.delta_key_size, c.delta_value_size, c.delta_value_heads
    activation = silu if c.activation == "silu" else gelu_tanh
    inputs, filtered = dense(x, w, f"{name}.qkv_proj"), w[f"{name}.filter"]
    qkv = np.zeros_like(inputs)
    for t in range(len(x)):
        for j in range(c.delta_conv):  # the last of the filter is of this token
            if t - j >= 0:
                qkv[t] += filtered[:, c.delta_conv - 1 - j] * inputs[t - j]
    qkv = activation(qkv)
    z, a, b = (dense(x, w, f"{name}.{part}_proj") for part in "zab")
    out, keys = np.zeros((len(x), heads, V)), c.delta_key_heads
    for h in range(heads):
        g = h % keys if c.delta_tiled else h // (heads // keys)
        matrix = np.zeros((V, K))
        for t in range(len(x)):
            q, k = qkv[t, g * K :][:K], qkv[t, (keys + g) * K :][:K]
            v = qkv[t, 2 * keys * K + h * V :][:V]
            q, k = q / np.sqrt(q @ q + 1e-6) / K**0.5, k / np.sqrt(k @ k + 1e-6)
            rate = np.log1p(np.exp(a[t, h] + w[f"{name}.dt_bias"][h]))
            matrix *= np.exp(w[f"{name}.decay"][h] * rate)
            matrix += np.outer(v - matrix @ k, k) / (1 + np.exp(-b[t, h]))
            out[t, h] = rms_norm(matrix @ q, w[f"{name}.norm.weight"], c.norm_eps)
    return dense(out.reshape(len(x), -1) * silu(z), w, f"{name}.o_proj")


def dense(x, weights, name):
    y = x @ weights[f"{name}.weight"].T
    return y + weights.get(f"{name}.bias", 0)


def backbone(x, weights, config):
    """x (T, D) -> (T, D); `weights` by our names below `backbone.`, `config` a BackboneConfig."""
    w = {name: np.asarray(value, np.float64) for name, value in weights.items()}
    E = config.head_dim

    def heads(y):
        return y.reshape(len(y), -1, E).transpose(1, 0, 2)

    def norm(y, name):
        return rms_norm(y, w[name], config.norm_eps) if name in w else y

    def turned(y, layer):
        if layer in config.unrotated_layers:
            return y
        base, factors, scale = config.rope_base, config.rope_factors, config.rope_scale
        if config.windows and config.windows[layer] and config.window_rope_base:
            base, factors, scale = config.window_rope_base, config.window_rope_factors, 1.0
        return np.stack([rope(h, base, 0, factors, scale, config.rotated) for h in y])

    def attention(y, p, layer):
        q, k, v = (dense(y, w, f"{p}.attn.{n}_proj") for n in "qkv")
        gate = None
        if config.gated_attention:
            pairs = q.reshape(len(y), -1, 2, E)
            q, gate = (pairs[:, :, i].reshape(len(y), -1) for i in (0, 1))
        per_head = config.qk_norm == "head"
        q, k = (
            norm(heads(z), f"{p}.attn.{n}_norm.weight")
            if per_head
            else heads(norm(z, f"{p}.attn.{n}_norm.weight"))
            for n, z in (("q", q), ("k", k))
        )
        window = config.windows[layer] if config.windows else 0
        how = config.attention_scale, config.attention_softcap, window
        mixed = causal_attention(turned(q, layer), turned(k, layer), heads(v), *how)
        mixed = mixed.transpose(1, 0, 2).reshape(len(y), -1)
        return dense(mixed if gate is None else mixed / (1 + np.exp(-gate)), w, f"{p}.attn.o_proj")

    for layer in range(config.num_layers):
        p = f"blocks.{layer}"
        y = norm(x, f"{p}.attn_norm.weight")
        if layer in config.recurrent_layers:
            y = gated_delta(y, w, f"{p}.delta", config)
        else:
            y = attention(y, p, layer)
        x = x + config.residual_scale * norm(y, f"{p}.attn_post_norm.weight")
        y = norm(x, f"{p}.ffn_norm.weight")
        if f"{p}.experts.router.weight" in w:
            y = mixture(y, w, f"{p}.experts", config)
            x = x + config.residual_scale * norm(y, f"{p}.ffn_post_norm.weight")
            continue
        activation = silu if config.activation == "silu" else gelu_tanh
        gated = activation(dense(y, w, f"{p}.ffn.gate_proj")) * dense(y, w, f"{p}.ffn.up_proj")
        y = dense(gated, w, f"{p}.ffn.down_proj")
        x = x + config.residual_scale * norm(y, f"{p}.ffn_post_norm.weight")
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
