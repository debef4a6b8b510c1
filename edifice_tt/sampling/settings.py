"""Checks and describes the settings of sampling, and renders prompts."""

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import date as day
from operator import index
from typing import Any

from edifice_tt.architectures.causal_lm import CausalLM
from edifice_tt.architectures.fingerprint import fingerprint
from edifice_tt.contract.options import check_count
from edifice_tt.sampling.draws import Sampler
from edifice_tt.sampling.stops import Stops
from edifice_tt.selection.grade import grader

MOST_CANDIDATES = 1_000_000  # of one problem: as many are held in memory
Prompt = str | Sequence[dict[str, str]]


def describe_sampling(
    lm: CausalLM,
    prompt: Prompt,
    *,
    n: int,
    seed: int,
    temperature: float,
    top_k: int,
    top_p: float,
    max_tokens: int,
    stop: Iterable[str | int],
    answer: str | None,
    template_options: Mapping[str, Any],
    date: str | None,
) -> dict[str, Any]:
    """The settings to record in a pool; raises `ValueError` for invalid ones."""
    sampler = check_settings(n, max_tokens, temperature, top_k, top_p, seed)
    grader(answer, None)
    stops = Stops.of(lm, stop)
    settings: dict[str, Any] = {
        "model": lm.name,
        "fingerprint": fingerprint(lm),
        "template": "raw" if isinstance(prompt, str) else "chat",
        "n": index(n),
        "seed": sampler.seed,
        "temperature": temperature,
        "top_k": sampler.top_k,
        "top_p": top_p,
        "max_tokens": index(max_tokens),
        "stop": [*stops.strings, *stops.extra_ids],
    }
    settings |= rounding_of(lm)
    dated = tells_date(lm, prompt, template_options)
    if template_options:  # as they come back from a file
        settings["template_options"] = json.loads(json.dumps(dict(template_options)))
    if dated:
        settings["date"] = date
    return settings if answer is None else {**settings, "answer": answer}


def rounding_of(lm: CausalLM) -> dict[str, str]:
    """How a model was rounded after it was read from its file: `activations` and `dtype`."""
    plain: dict[str, Any] = {"activations": "float32", "dtype": None}
    given = {name: getattr(lm, name, value) for name, value in plain.items()}  # a plugin's may lack
    return {name: value for name, value in given.items() if value != plain[name]}


def check_settings(
    n: int, max_tokens: int, temperature: float, top_k: int, top_p: float, seed: int
) -> Sampler:
    """The sampler; raises `ValueError` for settings that are invalid for any model."""
    n = check_count("n", n, MOST_CANDIDATES)
    check_count("max_tokens", max_tokens)
    if temperature == 0 and n > 1:
        raise ValueError(
            f"temperature=0 always takes the most likely token, so all n={n} candidates would be "
            "the same; use n=1 or a temperature above 0"
        )
    return Sampler(temperature, top_k, top_p, seed)


def today() -> str:
    """The current day, in the form for templates."""
    return day.today().isoformat()


def render_prompt(
    lm: CausalLM, prompt: Prompt, options: Mapping[str, Any], date: str | None
) -> str:
    """The text that the model reads. Raises `ValueError` for an empty prompt."""
    text = _render(lm, prompt, options, date)[0]
    if not text.strip():
        raise ValueError("the prompt is empty; give some text")
    return text


def tells_date(lm: CausalLM, prompt: Prompt, options: Mapping[str, Any]) -> bool:
    """Whether the template puts the day into this prompt."""
    return _render(lm, prompt, options, None)[1]


def _render(
    lm: CausalLM, prompt: Prompt, options: Mapping[str, Any], date: str | None
) -> tuple[str, bool]:
    if lm.tokenizer is None:
        raise ValueError("the model has no tokenizer; load one with edifice_tt.load_pretrained")
    if not isinstance(prompt, str):
        text, dated = lm.tokenizer.render(prompt, options, day=date)
        return text, dated
    if options:
        raise ValueError(
            f"template_options={options!r:.60} are for a chat; give the prompt as messages"
        )
    return prompt, False
