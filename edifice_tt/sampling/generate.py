"""Prompt -> pool: samples N candidates that share the prompt's keys and values.

Rows decode in lock-step, in batches that the devices share; on a CPU finished rows cost nothing.
Knows no scorer and no rule.
"""

import time
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from inspect import signature
from threading import Lock
from typing import Any

from edifice_tt.architectures.causal_lm import CausalLM
from edifice_tt.contract.errors import PoolWarning, unknown_name
from edifice_tt.contract.options import whole
from edifice_tt.engine.capacity import check_capacity
from edifice_tt.engine.decoder import ROWS, Logits
from edifice_tt.engine.lockstep import cores_for, decode, devices_to_decode
from edifice_tt.engine.workspace import workspace_of
from edifice_tt.machine.progress import Add, Shows, showing
from edifice_tt.nn.gpu.draws import Drawn
from edifice_tt.nn.mapped import check_unchanged
from edifice_tt.pools.candidates import Candidate
from edifice_tt.pools.given import check_writer
from edifice_tt.pools.pool import Pool, Problem
from edifice_tt.sampling.confidence import measure
from edifice_tt.sampling.draws import as_told
from edifice_tt.sampling.prompts import TokenizedProblem, tokenize
from edifice_tt.sampling.request import Request, today
from edifice_tt.sampling.sampled import Sampled
from edifice_tt.sampling.settings import describe_sampling
from edifice_tt.sampling.stops import Stops
from edifice_tt.selection.grade import grader
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
    prompt: str | Sequence[Mapping[str, Any]],
    *,
    n: int = 16,
    seed: int = 0,
    temperature: float = 0.8,
    top_k: int = 0,
    top_p: float = 1.0,
    max_tokens: int = 128,
    stop: Iterable[str | int] = (),
    template_options: Mapping[str, Any] | None = None,
    date: str | None = None,
    problem: str = "0",
    gold: str | None = None,
    answer: str | None = None,
    indices: Iterable[int] | None = None,
    on_token: Callable[[Event], None] | None = None,
    on_finish: Callable[[Candidate], None] | None = None,
    batch_size: int = ROWS,
    devices: Sequence[str] | None = None,
    confidence: Sequence[str] = (),
    progress: Shows = False,
) -> Pool:
    """Sample `n` candidate answers to one prompt.

    A str is read unchanged; a list of `{"role": ..., "content": ...}` goes through the model's chat
    template. `template_options` go to the template, such as `{"enable_thinking": False}`, and
    `date` (default: today) is the day that it may state. A control token's name is text in a
    message, but the token in a str. `stop` holds strings and token ids that end an answer, besides
    the model's own; it may name control tokens. Candidate i depends only on (seed, problem, i): the
    first 4 of n=16 are those of n=4, and `indices` selects which to make. `batch_size` is the
    number of rows that decode together: more memory, fewer passes over the weights. `devices` are
    tinygrad devices of one kind that share the rows (default on a CPU: every core). Neither changes
    the candidates. `answer` names an extractor that sets their answers; with `gold` they are marked
    right or wrong. `confidence` names what to keep of how sure the model is of each token
    (`entropy`, `self_certainty`, `deepconf`), which the scorers of these names read.
    `progress=True` shows how far it is, and a function is called with each `Progress`.

    Ctrl-C returns the finished candidates with a `PoolWarning`, and sets `Pool.interrupted`; with
    none finished it raises KeyboardInterrupt. Raises `ValueError` for an empty prompt, one that
    exceeds the context, and invalid settings. Raises `EdificeError` if the free memory is too
    small.
    """
    check_writer(lm)
    request = Request(
        n=n,
        seed=seed,
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        max_tokens=max_tokens,
        stop=stop,
        template_options=template_options,
        date=today() if date is None else date,
        answer=answer,
        batch_size=batch_size,
        devices=devices,
        confidence=confidence,
    ).on(lm.device)
    check_unchanged(lm)
    indices, chat = _check_indices(request.n, indices), not isinstance(prompt, str)
    stops = Stops.of(lm, request.stop, chat)
    tokenized = tokenize(lm, Problem(prompt, problem, gold), request)
    check_memory(lm, request, [tokenized], len(indices))
    finished: dict[int, Candidate] = {}
    # Told at the end, since the fingerprint of a model that was just loaded may take some seconds.
    describe = partial(
        describe_sampling, lm, request, stops, chat=chat, tells_date=tokenized.tells_date
    )

    def finish(candidate: Candidate) -> None:
        finished[candidate.index] = candidate
        if on_finish is not None:
            on_finish(candidate)

    interrupted = False
    try:
        with showing(progress, len(indices), "candidates") as add:
            sample(lm, tokenized, request, stops, indices, finish, counting(add, on_token))
        settings = describe()
    except KeyboardInterrupt:
        if not finished:
            raise
        interrupted = True
        told = f"interrupted: {len(finished)} of {len(indices)} candidates are finished"
        warnings.warn(told, PoolWarning, stacklevel=2)
        settings = describe()
    candidates = tuple(finished[i] for i in sorted(finished))
    pool = Pool(tokenized.text, candidates, settings, problem, gold, messages=tokenized.messages)
    return replace(pool, interrupted=interrupted)


def counting(add: Add, on_token: Callable[[Event], None] | None) -> Callable[[Event], None]:
    """A callback that counts tokens and candidates, and then calls another."""
    return _before(on_token, lambda event: add(int(event.finish_reason is not None), 1))


def counting_tokens(add: Add, on_token: Callable[[Event], None] | None) -> Callable[[Event], None]:
    """A callback whose work is tokens, and which then calls another."""
    return _before(on_token, lambda event: add(1, 1))


def _before(
    on_token: Callable[[Event], None] | None, count: Callable[[Event], object]
) -> Callable[[Event], None]:
    def both(event: Event) -> None:
        count(event)
        if on_token is not None:
            on_token(event)

    return both


def make_request(**options: Any) -> Request:
    """A request of options of `generate`, the others by its defaults.

    Raises `UnknownNameError` for an option that it does not have.
    """
    parameters = signature(generate).parameters
    defaults = {field.name: parameters[field.name].default for field in fields(Request)}
    for name in options.keys() - defaults.keys():
        raise unknown_name("option of generate_pools", name, defaults)
    return Request(**{**defaults, **options})


def check_memory(
    lm: CausalLM, request: Request, problems: Iterable[TokenizedProblem], rows: int
) -> None:
    """Raise `EdificeError` when the memory does not hold so many rows behind any of the prompts.

    Of the prompts that leave room for equally long answers, the longest needs most.
    """
    sharing: Any = {"batch_size": request.batch_size, "devices": request.devices}
    lengths = sorted(len(problem.ids) for problem in problems)
    longest = {_room(lm, request, length): length for length in lengths}
    for tokens, length in reversed(longest.items()):
        check_capacity(lm, prompt=length, n=rows, tokens=tokens, **sharing)


def _room(lm: CausalLM, request: Request, length: int) -> int:
    """The tokens that an answer may have behind a prompt of so many."""
    return min(request.max_tokens, lm.config.context_length - length)


def sample(
    lm: CausalLM,
    problem: TokenizedProblem,
    request: Request,
    stops: Stops,
    indices: Sequence[int],
    on_finish: Callable[[Candidate], None],
    on_token: Callable[[Event], None] | None = None,
) -> None:
    """Sample the candidates of these indices, and hand each out when it is finished."""
    started, tokens = time.perf_counter(), _room(lm, request, len(problem.ids))
    sampler = request.sampler(problem.problem)
    mark = grader(request.answer, problem.gold, problem.text)
    rows: dict[int, Sampled] = {}
    one_at_a_time = Lock()

    def draw(index: int, given: Logits | Drawn, position: int) -> int | None:
        sure: tuple[float, ...] = ()
        if isinstance(given, Drawn):
            token, logprob = as_told(given)
        else:
            token, logprob = sampler.draw(given, index, position)
            sure = measure(request.confidence, given) if request.confidence else ()
        with one_at_a_time:
            if position == 0:
                rows[index] = Sampled(index, TextStream(lm.tokenizer), request.confidence)
            row = rows[index]
            row.sure.append(sure)
            text = row.add(token, logprob, stops, last=position + 1 == tokens)
            if row.finish_reason:
                del rows[index]
                seconds = time.perf_counter() - started
                on_finish(replace(mark(row.candidate()), seconds=seconds))
            if on_token is not None:
                on_token(Event(index, token, text, row.finish_reason))
        return None if row.finish_reason else token

    with workspace_of(lm) as workspace:
        devices = devices_to_decode(lm, request.devices, len(indices), request.batch_size)
        decoders = workspace.decoders(devices)
        cores = cores_for(lm, request.devices)
        ask = None if request.confidence else sampler.ask  # what measures it is here
        decode(decoders, problem.ids, indices, tokens, request.batch_size, draw, cores, ask)


def _check_indices(n: int, indices: Iterable[int] | None) -> Sequence[int]:
    if indices is None:
        return range(n)
    checked: set[int] = set()
    for one in indices if isinstance(indices, Iterable) else ():
        if (index := whole(one)) is None or not 0 <= index < n:
            checked.clear()
            break
        checked.add(index)
    if not checked:
        raise ValueError(f"indices={indices!r:.60} must hold numbers from 0 to n - 1 = {n - 1}")
    return sorted(checked)
