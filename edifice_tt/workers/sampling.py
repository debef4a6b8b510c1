"""Sampling by workers: what a worker loads and samples, and how the driver keeps it."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from edifice_tt.architectures.causal_lm import CausalLM
from edifice_tt.contract.errors import EdificeError
from edifice_tt.nn.cache import kv_dtype_of
from edifice_tt.nn.mapped import check_unchanged
from edifice_tt.pools.candidates import Candidate
from edifice_tt.sampling.generate import check_memory, sample
from edifice_tt.sampling.request import Request
from edifice_tt.sampling.runs import Run
from edifice_tt.sampling.stops import Stops
from edifice_tt.weights.pretrained import load_pretrained
from edifice_tt.workers.chunks import Chunk, chunks
from edifice_tt.workers.driving import Executor, drive
from edifice_tt.workers.worker import Do, Give


@dataclass(frozen=True)
class Loading:
    """How a worker loads the driver's model, and what it must find then."""

    model: str
    device: str | None
    dtype: str | None
    activations: str
    kv_dtype: str
    fingerprint: str

    @classmethod
    def of(cls, lm: CausalLM, model: str, **how: str | None) -> "Loading":
        """As the driver has loaded it; a path holds from any folder."""
        named = str(Path(model).resolve()) if Path(model).exists() else model
        activations = how.get("activations") or "float32"
        how_far = how.get("dtype"), activations, kv_dtype_of(lm)
        return cls(named, how.get("device"), *how_far, lm.fingerprint)

    def load(self) -> CausalLM:
        """The model. Raises `EdificeError` for another than the driver's."""
        how = self.dtype, self.activations, self.kv_dtype
        lm = load_pretrained(self.model, self.device, *how)
        if lm.fingerprint != self.fingerprint:
            raise EdificeError(
                f"{self.model} has the fingerprint {lm.fingerprint} here, and the driver's has "
                f"{self.fingerprint}; put the driver's file there"
            )
        return lm


def begin_sampling(loading: Loading, request: Request, chat: bool) -> Do:
    """In a worker: load the model, and give the function that samples a chunk."""
    lm = loading.load()
    stops = Stops.of(lm, request.stop, chat)

    def do(chunk: Chunk, give: Give) -> None:
        check_unchanged(lm)
        check_memory(lm, request, [chunk.problem], len(chunk.indices))
        sample(lm, chunk.problem, request, stops, chunk.indices, give)

    return do


def sample_by(
    executor: Executor,
    run: Run,
    loading: Loading,
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
    begin = partial(begin_sampling, loading, request, chat)
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
