"""Runs small models on a device and writes their numbers as a line of JSON, or null without it."""

import json

import numpy as np
from tinygrad import Tensor

import edifice_tt as et
from edifice_tt.contract.errors import ToolchainError
from edifice_tt.engine.hidden import read_hidden
from edifice_tt.machine.toolchain import open_device
from edifice_tt.testing import tiny_model


def main() -> None:
    try:
        open_device()
    except ToolchainError:
        print("null")
        return
    model = et.build("test_time_compute", embed_dim=5, hidden_size=24, num_layers=2, seed=3)
    x = np.random.default_rng(3).standard_normal((3, 7, 5)).astype(np.float32)
    out = et.jit(model)(Tensor(x))
    lm = tiny_model()
    weight = lm.token_embedding.weight  # larger, so that some tokens are likely
    weight.replace((weight * 12).contiguous().realize())
    pool = et.generate(lm, "What is 2 + 2?", n=5, max_tokens=5, seed=1)
    found = {
        "scores": out.scores.tolist(),
        "best": et.select_best_of_n(out.scores[:, -1, 0]).item(),
        "tokens": [candidate.token_ids for candidate in pool],
        "logprobs": [candidate.token_logprobs for candidate in pool],
        "states": [states.tolist() for states in read_hidden(lm, pool)],
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
