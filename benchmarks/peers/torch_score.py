"""`test_time_compute` in PyTorch, as one would write it: eager and compiled."""

import time
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F

POSITIONS = 256
VERSIONS = {"torch": torch.__version__}
_device = ["cpu"]
_models: dict[str, Callable[[torch.Tensor], tuple[torch.Tensor, torch.Tensor]]] = {}


class TestTimeCompute(torch.nn.Module):
    """The default architecture, its weights under the names that edifice_tt saves."""

    def __init__(self, weights: dict[str, np.ndarray], num_layers: int, head_dim: int) -> None:
        super().__init__()
        self.num_layers, self.head_dim = num_layers, head_dim
        for name, value in weights.items():
            self.register_buffer(name.replace(".", "_"), torch.from_numpy(value))
        theta = 10000.0 ** (-torch.arange(0, head_dim, 2) / head_dim)
        angles = torch.outer(torch.arange(POSITIONS), theta)
        self.register_buffer("cos", angles.cos())
        self.register_buffer("sin", angles.sin())

    def linear(self, x: torch.Tensor, name: str) -> torch.Tensor:
        return F.linear(x, getattr(self, f"{name}_weight"), getattr(self, f"{name}_bias"))

    def heads(self, x: torch.Tensor, name: str) -> torch.Tensor:
        return self.linear(x, name).unflatten(-1, (-1, self.head_dim)).transpose(1, 2)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        width = x.shape[-1:]
        cos, sin = self.cos[: x.shape[1]], self.sin[: x.shape[1]]
        for layer in range(self.num_layers):
            at = f"backbone_blocks_{layer}"
            h = F.rms_norm(x, width, getattr(self, f"{at}_attn_norm_weight"), 1e-6)
            q, k, v = (self.heads(h, f"{at}_attn_{p}_proj") for p in "qkv")
            q, k = rotate(q, cos, sin), rotate(k, cos, sin)
            mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
            x = x + self.linear(mixed.transpose(1, 2).flatten(2), f"{at}_attn_o_proj")
            h = F.rms_norm(x, width, getattr(self, f"{at}_ffn_norm_weight"), 1e-6)
            gate = F.silu(self.linear(h, f"{at}_ffn_gate_proj"))
            x = x + self.linear(gate * self.linear(h, f"{at}_ffn_up_proj"), f"{at}_ffn_down_proj")
        norm = self.backbone_final_norm_weight, self.backbone_final_norm_bias
        x = F.layer_norm(x, width, *norm, 1e-5)
        return x, self.linear(F.silu(self.linear(x, "scorer_dense1")), "scorer_dense2")


def rotate(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    first, second = x.chunk(2, dim=-1)
    return torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1)


def load(weights: str, num_layers: int, head_dim: int, threads: int, device: str = "cpu") -> None:
    """`weights`: an .npz file of edifice_tt's weights."""
    torch.set_num_threads(threads)
    _device[:] = [device]
    model = TestTimeCompute(dict(np.load(weights)), num_layers, head_dim).to(device).eval()
    _models.update(eager=model, compiled=torch.compile(model, dynamic=False))


@torch.inference_mode()
def check(example: str, how: str) -> float:
    """The largest difference from the `hidden` and `scores` that edifice_tt gave for `x`."""
    given = np.load(example)
    hidden, scores = _models[how](torch.from_numpy(given["x"]).to(*_device))
    pairs = ((hidden, given["hidden"]), (scores, given["scores"]))
    return max(float(np.abs(here.cpu().numpy() - there).max()) for here, there in pairs)


@torch.inference_mode()
def run(batch: int, tokens: int, width: int, how: str, calls: int) -> float:
    """Seconds of one call, the mean of some in a row."""
    x = torch.randn(batch, tokens, width, device=_device[0])
    _wait()
    start = time.perf_counter()
    for _ in range(calls):
        _models[how](x)
        _wait()  # as who reads the scores does
    return (time.perf_counter() - start) / calls


def _wait() -> None:
    if _device[0] != "cpu":
        torch.cuda.synchronize()
