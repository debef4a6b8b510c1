"""Prompt -> pool: samples N candidates that share the prompt's keys and values.

Rows decode in lock-step, in batches of one fixed shape. Finished rows leave, and batches close up,
so the work is that of as many batches as the unfinished rows fill. Knows no scorer and no rule.
"""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

import numpy as np
from tinygrad import Tensor

from edifice_tt.architectures.causal_lm import CausalLM
from edifice_tt.inference.candidates import Candidate, Pool
from edifice_tt.inference.decoder import ROWS, Decoder, Logits, decoder_of
from edifice_tt.inference.grade import grader
from edifice_tt.inference.sampling import Sampler, problem_seed
from edifice_tt.inference.settings import Prompt, Stops, describe_sampling
from edifice_tt.nn.backbone import KVCache, check_count
from edifice_tt.weights.tokenizer import TextStream


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
    problem: str = "0",
    gold: str | None = None,
    answer: str | None = None,
    indices: Iterable[int] | None = None,
    on_token: Callable[[Event], None] | None = None,
    on_finish: Callable[[Candidate], None] | None = None,
    batch_size: int = ROWS,
) -> Pool:
    """Sample `n` candidate answers to one prompt.

    A str is read as it is; a list of `{"role": ..., "content": ...}` goes through the model's chat
    template. `stop` holds strings and token ids that end an answer, beside the model's own.
    Candidate i depends on (seed, problem, i) alone: the first 4 of n=16 are those of n=4, `indices`
    makes only these of the n, and `batch_size` (rows that decode together: more memory, fewer
    passes over the weights) changes nothing. With an extractor named by `answer` the candidates
    have answers, and with `gold` are marked as right or wrong.

    Ctrl-C returns the candidates that are finished (`settings["interrupted"]` says so); with none
    finished it is a KeyboardInterrupt. Raises `ValueError` for an empty prompt, one that does not
    fit the context, and settings that cannot work.
    """
    started = time.perf_counter()
    stops = Stops.of(lm, stop)
    settings = describe_sampling(
        lm,
        prompt,
        n=n,
        seed=seed,
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        max_tokens=max_tokens,
        stop=[*stops.strings, *stops.extra_ids],
        answer=answer,
    )
    check_count("batch_size", batch_size)
    wanted = _check_indices(n, indices)
    sampler = Sampler(temperature, top_k, top_p, problem_seed(seed, problem))
    text = render_prompt(lm, prompt)
    ids = encode_prompt(lm, text)
    mark = grader(answer, gold)
    room = lm.config.context_length - len(ids)
    rows = {i: _Row(i, TextStream(lm.tokenizer)) for i in wanted}
    finished: dict[int, Candidate] = {}

    def watch(event: Event) -> None:
        if event.finish_reason:
            seconds = time.perf_counter() - started
            candidate = replace(mark(rows[event.index].candidate()), seconds=seconds)
            finished[event.index] = candidate
            if on_finish is not None:
                on_finish(candidate)
        if on_token is not None:
            on_token(event)

    try:
        decoder = decoder_of(lm)
        logits = decoder.read_prompt(ids)
        batches = _Batches(decoder, [*rows.values()], batch_size, min(max_tokens, room))
        _decode(batches, dict.fromkeys(rows, logits), sampler, stops, watch)
    except KeyboardInterrupt:
        if not finished:
            raise
        settings["interrupted"] = True
    candidates = tuple(finished[i] for i in sorted(finished))
    return Pool(text, candidates, settings, problem, gold)


def _check_indices(n: int, indices: Iterable[int] | None) -> list[int]:
    wanted = sorted(set(range(n) if indices is None else indices))
    if not wanted or not 0 <= wanted[0] <= wanted[-1] < n:
        raise ValueError(f"indices={indices!r:.60} must hold numbers from 0 to n - 1 = {n - 1}")
    return wanted


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

    def add(self, token: int, logprob: float, stops: Stops, last: bool) -> str:
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


def _decode(
    batches: "_Batches",
    logits: dict[int, Logits],
    sampler: Sampler,
    stops: Stops,
    on_token: Callable[[Event], None] | None,
) -> None:
    for position in range(batches.tokens):
        for row in batches.active():
            token, logprob = sampler.draw(logits[row.index], row.index, position)
            text = row.add(token, logprob, stops, last=position + 1 == batches.tokens)
            if on_token is not None:
                on_token(Event(row.index, token, text, row.finish_reason))
        if not batches.active():
            return
        batches.close_up()
        logits = batches.step(position)


class _Batches:
    """Rows in batches of one shape, each with a cache of what its rows said so far."""

    def __init__(self, decoder: Decoder, rows: list[_Row], batch_size: int, tokens: int) -> None:
        self.decoder = decoder
        self.batch_size = batch_size
        self.tokens = tokens
        self.batches = [rows[i : i + batch_size] for i in range(0, len(rows), batch_size)]
        self.caches = [decoder.empty_cache(batch_size, tokens) for _ in self.batches]

    def active(self) -> list[_Row]:
        return [row for batch in self.batches for row in batch if not row.finish_reason]

    def step(self, position: int) -> dict[int, Logits]:
        """Read each active row's last token; returns the logits (V,) that follow, by row."""
        following: dict[int, Logits] = {}
        for batch, cache in zip(self.batches, self.caches, strict=True):
            last = [row.ids[-1] for row in batch]
            padded = np.array(last + [0] * (self.batch_size - len(last)), dtype=np.int32)
            behind = cache.holding(position, self.decoder.prompt)
            _, logits = self.decoder.step(padded[:, None], behind)
            following |= {row.index: logits[slot] for slot, row in enumerate(batch)}
        return following

    def close_up(self) -> None:
        """Move the active rows together when that empties a batch."""
        active = self.active()
        if -(-len(active) // self.batch_size) == len(self.batches):
            return
        places = [
            (b, slot)
            for b, batch in enumerate(self.batches)
            for slot, row in enumerate(batch)
            if not row.finish_reason
        ]
        groups = range(0, len(active), self.batch_size)
        caches = [self._gather(places[i : i + self.batch_size]) for i in groups]
        self.batches = [active[i : i + self.batch_size] for i in groups]
        self.caches = caches

    def _gather(self, places: list[tuple[int, int]]) -> KVCache:
        # Through the host: it happens at most once a batch, and compiles nothing.
        layers = []
        for layer in range(len(self.caches[0].layers)):
            sources = {b: self.caches[b].layers[layer].numpy() for b in {b for b, _ in places}}
            gathered = np.zeros_like(next(iter(sources.values())))  # (2, B, S, K, E)
            for slot, (b, old) in enumerate(places):
                gathered[:, slot] = sources[b][:, old]
            layers.append(Tensor(gathered, device=self.decoder.model.device).realize())
        return KVCache(tuple(layers))
