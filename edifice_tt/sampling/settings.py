"""How candidates were sampled, as a pool records it. Knows no file."""

import json
from typing import Any

from edifice_tt.architectures.causal_lm import CausalLM
from edifice_tt.architectures.fingerprint import fingerprint
from edifice_tt.sampling.request import Request
from edifice_tt.sampling.stops import Stops


def describe_sampling(
    lm: CausalLM, request: Request, stops: Stops, *, chat: bool, tells_date: bool
) -> dict[str, Any]:
    """The settings of a pool: of the model, then of the request; what says nothing is left out."""
    settings: dict[str, Any] = {
        "model": lm.name,
        "fingerprint": fingerprint(lm),
        "template": "chat" if chat else "raw",
    }
    names = ("n", "seed", "temperature", "top_k", "top_p", "max_tokens")
    settings |= {name: getattr(request, name) for name in names}
    settings["stop"] = [*stops.strings, *stops.extra_ids]
    settings |= rounding_of(lm)
    if request.template_options:  # as they come back from a file
        settings["template_options"] = json.loads(json.dumps(request.template_options))
    if request.confidence:
        settings["confidence"] = list(request.confidence)
    if tells_date:
        settings["date"] = request.date
    return settings if request.answer is None else {**settings, "answer": request.answer}


def rounding_of(lm: CausalLM) -> dict[str, str]:
    """What of a model is rounded though its file is not: `activations`, `dtype`, `kv_dtype`."""
    # A plugin's may lack them.
    plain: dict[str, Any] = {"activations": "float32", "dtype": None, "kv_dtype": "float32"}
    return {name: v for name, usual in plain.items() if (v := getattr(lm, name, usual)) != usual}
