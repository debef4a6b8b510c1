"""Prompt -> pool: samples N candidates that share the prompt's keys and values.

Rows decode in lock-step, in batches that the devices share out; finished rows cost nothing more.
Knows no scorer and no rule.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

from edifice_tt.architectures.causal_lm import CausalLM
from edifice_tt.inference.candidates import Candidate, Pool
from edifice_tt.inference.decoder import ROWS, Logits
from edifice_tt.inference.lockstep import decode, decoders_for
from edifice_tt.inference.sampling import Sampler
from edifice_tt.nn.backbone import check_count
from edifice_tt.weights.tokenizer import TextStream

Prompt = str | Sequence[dict[str, str]]


@dataclass(frozen=True)
class Event:
    """One token of one candidate, for streaming."""

    index: int
    token_id: int
    text: str  # what became readable with this token; may be empty
    finish_reason: str | None  # set with the candidate's last token


def generate(
    lm: CausalLM,
    prompt: Prompt,
    *,
    n: int = 16,
    seed: int = 0,
    temperature: float = 0.8,
    top_k: int = 0,
    top_p: float = 1.0,
    max_tokens: int = 128,
    stop: Iterable[str | int] = (),
    on_token: Callable[[Event], None] | None = None,
    batch_size: int = ROWS,
    devices: Sequence[str] | None = None,
) -> Pool:
    """Sample `n` candidate answers to one prompt.

    A str is read as it is; a list of `{"role": ..., "content": ...}` goes through the model's chat
    template. `stop` holds strings and token ids that end an answer, beside the model's own.
    Candidate i depends on (seed, i) alone: the first 4 of n=16 are those of n=4. `batch_size` (the
    most rows that decode together: more memory, fewer passes over the weights) and `devices`
    (tinygrad devices that share the rows out; by default every core, on a CPU) change nothing.

    Ctrl-C returns the candidates that are finished (`settings["interrupted"]` says so); with none
    finished it is a KeyboardInterrupt. Raises `ValueError` for an empty prompt, one that does not
    fit the context, and settings that cannot work.
    """
    sampler = check_settings(n, max_tokens, temperature, top_k, top_p, seed)
    check_count("batch_size", batch_size)
    stops = _Stops.of(lm, stop)
    text = render_prompt(lm, prompt)
    ids = encode_prompt(lm, text)
    room = lm.config.context_length - len(ids)
    settings: dict[str, Any] = {
        "model": lm.name,
        "prompt_tokens": len(ids),
        "n": n,
        "seed": seed,
        "temperature": temperature,
        "top_k": top_k,
        "top_p": top_p,
        "max_tokens": max_tokens,
        "stop": [*stops.strings, *stops.extra_ids],
    }
    rows = [_Row(i, TextStream(lm.tokenizer)) for i in range(n)]
    one_at_a_time, tokens = Lock(), min(max_tokens, room)

    def draw(row: _Row, logits: Logits, position: int) -> int | None:
        token, logprob = sampler.draw(logits, row.index, position)
        with one_at_a_time:
            text = row.add(token, logprob, stops, last=position + 1 == tokens)
            if on_token is not None:
                on_token(Event(row.index, token, text, row.finish_reason))
        return None if row.finish_reason else token

    try:
        decode(decoders_for(lm, devices, n), ids, rows, tokens, batch_size, draw)
    except KeyboardInterrupt:
        if not any(row.finish_reason for row in rows):
            raise
        settings["interrupted"] = True
    finished = (row.candidate() for row in rows if row.finish_reason)
    return Pool(text, tuple(finished), settings)


def check_settings(
    n: int, max_tokens: int, temperature: float, top_k: int, top_p: float, seed: int
) -> Sampler:
    """The sampler; raises `ValueError` for settings that cannot work, whatever the model."""
    check_count("n", n)
    check_count("max_tokens", max_tokens)
    if temperature == 0 and n > 1:
        raise ValueError(
            f"temperature=0 always takes the most likely token, so all n={n} candidates would be "
            "the same; use n=1 or a temperature above 0"
        )
    return Sampler(temperature, top_k, top_p, seed)


def render_prompt(lm: CausalLM, prompt: Prompt) -> str:
    """The text that the model reads. Raises `ValueError` for an empty prompt."""
    if lm.tokenizer is None:
        raise ValueError("the model has no tokenizer; load one with edifice_tt.load_pretrained")
    text = prompt if isinstance(prompt, str) else lm.tokenizer.chat(prompt)
    if not text.strip():
        raise ValueError("the prompt is empty; give some text")
    return str(text)


def encode_prompt(lm: CausalLM, text: str) -> list[int]:
    """The prompt's token ids. Raises `ValueError` when no room is left for an answer."""
    ids: list[int] = lm.tokenizer.encode(text)
    if len(ids) >= lm.config.context_length:
        raise ValueError(
            f"the prompt has {len(ids)} tokens, the model's context holds "
            f"{lm.config.context_length} with the answer; shorten the prompt"
        )
    return ids


@dataclass(frozen=True)
class _Stops:
    strings: tuple[str, ...]
    extra_ids: tuple[int, ...]
    eos_ids: frozenset[int]

    @classmethod
    def of(cls, lm: CausalLM, stop: Iterable[str | int]) -> "_Stops":
        if isinstance(stop, str):
            raise ValueError(f"stop={stop!r} must be a list of strings and token ids: [{stop!r}]")
        stop = list(stop)
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


@dataclass
class _Row:
    """A candidate in the making."""

    index: int
    stream: TextStream
    text: str = ""
    ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    finish_reason: str | None = None
    shown: int = 0  # characters that have been handed out for streaming

    def add(self, token: int, logprob: float, stops: _Stops, last: bool) -> str:
        """Take one more token; returns the text that is now sure to stay."""
        self.ids.append(token)
        self.logprobs.append(logprob)
        if token in stops.eos_ids or token in stops.extra_ids:
            self.finish_reason = "eos" if token in stops.eos_ids else "stop"
        else:
            self.text += self.stream.add(token)
        if self.finish_reason or last:
            self.text += self.stream.finish()
        found = [at for at in (self.text.find(s) for s in stops.strings) if at >= 0]
        if found:
            self.text = self.text[: min(found)]
            self.finish_reason = "stop"
        elif last and not self.finish_reason:
            self.finish_reason = "length"
        sure = len(self.text) - (0 if self.finish_reason else stops.possible_start(self.text))
        text, self.shown = self.text[self.shown : sure], sure
        return text

    def candidate(self) -> Candidate:
        assert self.finish_reason is not None
        return Candidate(
            self.index, self.text, tuple(self.ids), tuple(self.logprobs), self.finish_reason
        )
