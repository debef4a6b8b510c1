"""How candidates are sampled, checked and written down: the settings, and what ends an answer."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from operator import index
from typing import Any

from edifice_tt.architectures.causal_lm import CausalLM
from edifice_tt.inference.grade import grader
from edifice_tt.inference.sampling import Sampler
from edifice_tt.nn.config import check_count, whole
from edifice_tt.nn.fingerprint import fingerprint

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
) -> dict[str, Any]:
    """The settings of a pool; raises `ValueError` for those that cannot work."""
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
    return settings if answer is None else {**settings, "answer": answer}


def rounding_of(lm: CausalLM) -> dict[str, str]:
    """What was rounded of a model that its file holds otherwise: `activations` and `dtype`."""
    plain: dict[str, Any] = {"activations": "float32", "dtype": None}
    given = {name: getattr(lm, name, value) for name, value in plain.items()}  # a plugin's may lack
    return {name: value for name, value in given.items() if value != plain[name]}


def check_settings(
    n: int, max_tokens: int, temperature: float, top_k: int, top_p: float, seed: int
) -> Sampler:
    """The sampler; raises `ValueError` for settings that cannot work, whatever the model."""
    n = check_count("n", n, MOST_CANDIDATES)
    check_count("max_tokens", max_tokens)
    if temperature == 0 and n > 1:
        raise ValueError(
            f"temperature=0 always takes the most likely token, so all n={n} candidates would be "
            "the same; use n=1 or a temperature above 0"
        )
    return Sampler(temperature, top_k, top_p, seed)


@dataclass(frozen=True)
class Stops:
    """What ends an answer: strings and token ids, and the model's own end tokens."""

    strings: tuple[str, ...]
    extra_ids: tuple[int, ...]
    eos_ids: frozenset[int]

    @classmethod
    def of(cls, lm: CausalLM, stop: Iterable[str | int]) -> "Stops":
        if isinstance(stop, str):
            raise ValueError(f"stop={stop!r} must be a list of strings and token ids: [{stop!r}]")
        stop = [s if (token := whole(s)) is None else token for s in stop]
        ids = range(lm.config.vocab_size)
        if not all(s in ids if type(s) is int else s and isinstance(s, str) for s in stop):
            raise ValueError(
                f"stop={stop!r} must hold non-empty strings and token ids from 0 to {ids[-1]} only"
            )
        strings = tuple(s for s in stop if isinstance(s, str))
        eos_ids = lm.tokenizer.stop_ids if lm.tokenizer else frozenset()
        return cls(strings, tuple(s for s in stop if isinstance(s, int)), eos_ids)

    def possible_start(self, text: str) -> int:
        """How many of the last characters may be the beginning of a stop string."""
        starts = (s[:size] for s in self.strings for size in range(len(s) - 1, 0, -1))
        return max((len(start) for start in starts if text.endswith(start)), default=0)
