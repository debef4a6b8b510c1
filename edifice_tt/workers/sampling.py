"""Sampling by workers: what a worker samples, and how the driver keeps it."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from edifice_tt.architectures.causal_lm import CausalLM
from edifice_tt.nn.mapped import check_unchanged
from edifice_tt.pools.candidates import Candidate
from edifice_tt.sampling.generate import check_memory, sample
from edifice_tt.sampling.request import Request
from edifice_tt.sampling.runs import Run
from edifice_tt.sampling.stops import Stops
from edifice_tt.workers.chunks import Chunk, chunks
from edifice_tt.workers.driving import Executor, drive
from edifice_tt.workers.worker import Do, Give


def begin_sampling(lm: CausalLM, request: Request, chat: bool) -> Do:
    """In a worker: the function that samples a chunk."""
    stops = Stops.of(lm, request.stop, chat)

    def do(chunk: Chunk, give: Give) -> None:
        check_unchanged(lm)
        check_memory(lm, request, [chunk.problem], len(chunk.indices))
        sample(lm, chunk.problem, request, stops, chunk.indices, give)

    return do


def sample_by(
    executor: Executor,
    run: Run,
    tell: Callable[[str], object],
    on_candidate: Callable[[Candidate], object],
) -> dict[str, str]:
    """Have what a run misses sampled; returns why problems lack candidates, by their ids."""
    failed: dict[str, str] = {}
    problems = {problem.problem: problem for problem, _ in run.missing}
    wanted = {problem.problem: indices for problem, indices in run.missing}
    absent: dict[str, set[int]] = {}  # of the problems at hand
    chat = any(problem.messages is not None for problem in problems.values())
    request = replace(run.request, devices=None)
    begin = partial(begin_sampling, run.lm, request, chat)
    for name, candidate in drive(executor, begin, chunks(run.missing), failed, tell):
        if name in wanted:
            absent[name] = set(wanted.pop(name))
        if candidate.index not in absent.get(name, ()):
            continue  # a chunk that was begun again makes some twice
        run.add(problems[name], candidate)
        on_candidate(candidate)
        absent[name].discard(candidate.index)
        if not absent[name]:
            del absent[name]
    return failed
