"""A model that lives long answers like a fresh one, whatever it was asked before and beside.

Every answer is compared with that of a copy of the model that nobody has asked anything. Models are
deep: a small tuple comes from a free list of CPython, so that of few layers no address comes back.
"""

import asyncio
import gc
import os
import random
import resource
import signal
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from copy import copy
from functools import cache
from threading import Thread

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test
from tinygrad import Tensor, TinyJit
from tinygrad.engine.jit import JitError
from tinygrad.nn.state import get_state_dict

import edifice_tt as et
from edifice_tt.engine.decoder import CACHES
from edifice_tt.engine.hidden import read_hidden
from edifice_tt.engine.workspace import SPARE, workspace_of
from edifice_tt.nn.cache import Layers
from edifice_tt.testing import byte_tokenizer

SEEDS = (3, 4)  # of the weights, which are exchanged
LENGTHS = (3, 61, 64, 65, 127, 129, 190, 260)  # tokens of a prompt: up to four sizes of memory
DEVICES = (["CPU"], ["CPU", "CPU:1"], ["CPU:1"], None)


@pytest.fixture(autouse=True, scope="module")
def what_other_tests_left():
    """Is looked at no more: each collection here would take a second, were it to."""
    gc.collect()
    gc.freeze()


def make(layers, seed):
    """A language model over bytes; its embeddings are large, so that answers differ.

    `layers` is how many; or that in a tuple, and then only every fourth is not recurrent.
    """
    count, options = layers, {}
    if isinstance(layers, tuple):
        (count,) = layers
        options = {**DELTA, "recurrent_layers": [i for i in range(count) if (i + 1) % 4]}
    sizes = {"vocab_size": 259, "context_length": 2048, "hidden_size": 16, "num_layers": count}
    sizes |= {"num_heads": 2, "num_kv_heads": 1}
    lm = et.build("causal_lm", **sizes, **options, scorer="linear", seed=seed)
    for name, decay in get_state_dict(lm).items():
        if name.endswith(".decay"):  # so that a state is seen for long
            decay.replace((decay / 16).contiguous().realize())
    weight = lm.token_embedding.weight
    weight.replace((weight * 16).contiguous().realize())
    lm.tokenizer = byte_tokenizer()
    return lm


DELTA = {"delta_key_heads": 2, "delta_value_heads": 4, "delta_key_size": 3, "delta_value_size": 5}
DELTA |= {"delta_conv": 4, "gated_attention": True}
template = cache(make)


def prompt_of(length, seed=0):
    rng = random.Random(length * 31 + seed)
    return "".join(rng.choice("abcdefgh ") for _ in range(length))


class Request:
    """A call with its arguments; equal requests have equal answers."""

    def __init__(self, kind, length, n=2, tokens=5, batch=32, stop=""):
        self.key = (kind, length, n, tokens, stop)
        self.kind, self.length, self.n, self.tokens = kind, length, n, tokens
        self.batch, self.stop = batch, stop

    def pool(self, lm, devices=None, **options):
        return et.generate(
            lm,
            prompt_of(self.length),
            n=self.n,
            max_tokens=self.tokens,
            temperature=1.0,
            stop=list(self.stop),
            batch_size=self.batch,
            devices=devices,
            **options,
        )

    def ask(self, lm, devices=None, fast=None, reader=None):
        """What the model answers, as something that can be compared.

        Its own answers may be read by another model, which has nothing left of sampling them.
        """
        if self.kind == "own":
            pool = self.pool(lm, devices)
            states = read_hidden(reader or lm, pool, None, devices, last_only=True)
            return b"".join(one.tobytes() for one in states)
        if self.kind == "generate":
            pool = self.pool(lm, devices)
            return tuple((c.token_ids, c.token_logprobs) for c in pool)
        if self.kind == "jit":
            rng = np.random.default_rng(self.length)
            ids = rng.integers(3, 259, (self.n, 5)).astype(np.int32)
            return (fast or et.jit(lm))(Tensor(ids, device="CPU")).logits.numpy().tobytes()
        candidates = [et.Candidate(i, prompt_of(self.tokens, i)) for i in range(self.n)]
        pool = et.Pool(prompt_of(self.length), tuple(candidates))
        if self.kind == "score":
            return tuple(c.scores["linear"] for c in et.score(lm, pool, "linear"))
        layer = max(1, lm.config.num_layers // 2)
        return b"".join(one.tobytes() for one in read_hidden(lm, pool, layer, devices))


@cache
def _fresh(layers, seed, key):
    kind, length, n, tokens, stop = key
    sampler, reader = (copy(template(layers, seed)) for _ in range(2))
    return Request(kind, length, n, tokens, stop=stop).ask(sampler, ["CPU"], reader=reader)


requests = st.builds(
    Request,
    kind=st.sampled_from(["generate", "generate", "own", "own", "score", "hidden", "jit"]),
    length=st.sampled_from(LENGTHS),
    n=st.sampled_from([1, 2, 5]),
    tokens=st.sampled_from([1, 3, 67]),
    batch=st.sampled_from([1, 3, 32]),
    stop=st.sampled_from(["", "a"]),
)
devices_of = st.sampled_from(DEVICES)


class Breaking(Exception):
    """What a callback raises."""


class LongLife(RuleBasedStateMachine):
    layers = 2

    @initialize()
    def load(self):
        self.seed = SEEDS[0]
        self.lm = make(self.layers, self.seed)
        self.fast = et.jit(self.lm)

    def check(self, request, answer):
        assert answer == _fresh(self.layers, self.seed, request.key), request.key

    @rule(request=requests, devices=devices_of)
    def ask(self, request, devices):
        self.check(request, request.ask(self.lm, devices, self.fast))

    @rule(
        length=st.sampled_from(LENGTHS),
        at=st.integers(0, 8),
        devices=devices_of,
        ctrl_c=st.booleans(),
    )
    def break_off(self, length, at, devices, ctrl_c):
        seen = []

        def on_token(event):
            seen.append(event)
            if len(seen) > at:
                raise KeyboardInterrupt if ctrl_c else Breaking

        request = Request("generate", length, n=5)
        try:
            pool = request.pool(self.lm, devices, on_token=on_token)
        except (Breaking, KeyboardInterrupt):
            return
        assert ctrl_c
        assert pool.settings["interrupted"]

    @rule(outer=st.sampled_from(LENGTHS), inner=requests, devices=devices_of)
    def ask_from_a_callback(self, outer, inner, devices):
        answers = []

        def on_token(event):
            if not answers:
                answers.append(None)
                answers[0] = inner.ask(self.lm, devices, self.fast)

        request = Request("generate", outer, n=5)
        pool = request.pool(self.lm, devices, on_token=on_token)
        self.check(request, tuple((c.token_ids, c.token_logprobs) for c in pool))
        self.check(inner, answers[0])

    @rule(several=st.lists(st.tuples(requests, devices_of), min_size=2, max_size=4))
    def ask_from_threads(self, several):
        with ThreadPoolExecutor(len(several)) as threads:
            calls = [threads.submit(r.ask, self.lm, devices, self.fast) for r, devices in several]
            for (request, _), call in zip(several, calls, strict=True):
                self.check(request, call.result())

    @rule()
    def exchange_the_weights(self):
        self.seed = SEEDS[1 - SEEDS.index(self.seed)]
        others = get_state_dict(make(self.layers, self.seed))
        for name, weight in get_state_dict(self.lm).items():
            weight.replace(others[name])

    @rule()
    def drop_and_load(self):
        del self.lm, self.fast
        gc.collect()
        self.load()


@pytest.mark.slow
@pytest.mark.parametrize(("layers", "examples"), [(2, 12), (12, 4), (30, 4), ((4,), 3)])
def test_any_sequence_of_calls_is_answered_as_by_a_fresh_model(layers, examples):
    machine = type("LongLifeOfLayers", (LongLife,), {"layers": layers})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=40,
            deadline=None,
            derandomize=True,
            phases=[Phase.generate],  # to make a failure small would take minutes
            suppress_health_check=list(HealthCheck),
        ),
    )


@pytest.mark.slow
@pytest.mark.parametrize(("layers", "prompts"), [(30, 200), ((24,), 40)])
def test_many_prompts_are_answered_as_by_fresh_models(layers, prompts):
    """Lengths grow through five sizes of memory, on one and on two devices."""
    lm, rng = make(layers, 3), random.Random(5)
    lengths = [40, 120, 240, 450, 950, *(rng.randrange(2, 1000) for _ in range(prompts - 5))]
    for length in lengths:
        request = Request("generate", length, tokens=3)
        for devices in DEVICES[:2]:
            assert request.ask(lm, devices) == _fresh(layers, 3, request.key), (length, devices)


@pytest.mark.slow
@pytest.mark.parametrize("layers", [30, (24,)])
def test_the_order_of_problems_does_not_change_a_pool(tmp_path, layers):
    """And a run holds what single calls give."""
    lm, lengths = make(layers, 3), [200, 5, 70, 140, 390, 65]
    problems = [et.Problem(prompt_of(n), f"p{n}") for n in lengths]
    options = {"n": 2, "max_tokens": 5, "temperature": 1.0}
    found = []
    for name, ordered in {
        "random": problems,
        "ascending": sorted(problems, key=lambda p: len(p.prompt)),
        "descending": sorted(problems, key=lambda p: -len(p.prompt)),
    }.items():
        path = tmp_path / f"{name}.jsonl"
        et.generate_pools(lm, ordered, path, **options)
        found.append({pool.problem: pool.candidates for pool in et.read_pools(path)})
    assert found[0] == found[1] == found[2]
    for problem in problems:
        alone = et.generate(copy(lm), problem.prompt, problem=problem.problem, **options)
        assert found[0][problem.problem] == alone.candidates


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["generate", "hidden", "score", "jit"])
def test_weights_that_were_exchanged_answer_at_once(kind):
    lm, request = make(12, 3), Request(kind, 65)
    fast = et.jit(lm)
    for seed in (3, 4, 3):
        for name, weight in get_state_dict(make(12, seed)).items():
            get_state_dict(lm)[name].replace(weight)
        for _ in range(2):
            assert request.ask(lm, fast=fast) == _fresh(12, seed, request.key)


@pytest.mark.slow
@pytest.mark.parametrize("num_models", [1, 4])
def test_four_threads_with_every_kind_of_call_get_their_own_answers(num_models):
    models = [make(4, 3) for _ in range(num_models)]
    jits = [et.jit(lm) for lm in models]
    kinds = ["generate", "score", "hidden", "jit"]
    rng = random.Random(7)
    work = [Request(rng.choice(kinds), rng.choice(LENGTHS)) for _ in range(200)]

    def answer(place):
        request, at = work[place], place % num_models
        return request.ask(models[at], rng.choice(DEVICES), jits[at])

    with ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(answer, range(len(work))))
    for request, found in zip(work, answers, strict=True):
        assert found == _fresh(4, 3, request.key), request.key


@pytest.mark.slow
def test_two_tasks_of_an_event_loop_get_their_own_answers():
    lm = make(4, 3)
    work = [Request("generate", length) for length in LENGTHS] * 2

    async def ask_all():
        return await asyncio.gather(*(asyncio.to_thread(request.ask, lm) for request in work))

    for request, found in zip(work, asyncio.run(ask_all()), strict=True):
        assert found == _fresh(4, 3, request.key), request.key


@pytest.mark.slow
def test_fresh_models_may_be_made_saved_loaded_and_first_used_in_several_threads(tmp_path):
    """tinygrad captures one graph at a time, whoever asks for it."""
    request, path = Request("generate", 65), tmp_path / "model.safetensors"
    et.save(make(4, 3), path)

    def load_and_ask(_):
        lm = et.load(path)
        return request.ask(lm), Request("jit", 5).ask(lm)

    expected = _fresh(4, 3, request.key), _fresh(4, 3, Request("jit", 5).key)
    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(load_and_ask, range(8))) == [expected] * 8


@pytest.mark.slow
@pytest.mark.parametrize("devices", [["CPU"], ["CPU", "CPU:1"]])
@pytest.mark.parametrize("kind", ["generate", "score", "hidden", "jit"])
def test_a_callback_may_ask_the_model_that_calls_it(kind, devices):
    lm, inner, outer = make(2, 3), Request(kind, 65), Request("generate", 61, n=5)
    answers = []
    pool = outer.pool(lm, devices, on_finish=lambda _: answers.append(inner.ask(lm, devices)))
    assert answers == [_fresh(2, 3, inner.key)] * 5
    assert tuple((c.token_ids, c.token_logprobs) for c in pool) == _fresh(2, 3, outer.key)


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # forking a process with threads
def test_a_forked_process_goes_on_with_the_model():
    """On two devices, whose threads a fork does not have; a deadlock is ended by an alarm."""
    lm = make(2, 3)
    fast = et.jit(lm, devices=["CPU", "CPU:1"])
    work = [Request("generate", 129), Request("jit", 5, n=4), Request("generate", 190)]
    expected = [_fresh(2, 3, request.key) for request in work]
    work[0].ask(lm, ["CPU", "CPU:1"])
    work[1].ask(lm, fast=fast)
    if (child := os.fork()) == 0:
        signal.alarm(60)
        answers = [request.ask(lm, ["CPU", "CPU:1"], fast) for request in work]
        os._exit(0 if answers == expected else 1)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0


@pytest.mark.slow
def test_training_in_one_thread_drops_nothing_out_in_another():
    """Training is a switch of the whole process; this model has dropout."""
    lm = make(2, 3)
    model = et.build("test_time_compute", embed_dim=8, hidden_size=8, num_layers=1, num_heads=2,
                     num_kv_heads=1, dropout=0.5, seed=1)  # fmt: skip
    x = Tensor(np.random.default_rng(1).standard_normal((2, 3, 8)).astype(np.float32))
    expected = model(x).scores.numpy()
    pools = [
        et.Pool(
            prompt_of(9, seed),
            tuple(et.Candidate(i, prompt_of(4, 10 * seed + i), correct=i < 2) for i in range(4)),
            problem=str(seed),
        )
        for seed in range(8)
    ]
    with ThreadPoolExecutor(1) as thread:
        training = thread.submit(et.fit_scorer, lm, pools, epochs=20, folds=2, dropout=0.3)
        count = 0
        while not training.done() or count < 3:
            assert np.array_equal(
                Request("score", 61).ask(lm), _fresh(2, 3, ("score", 61, 2, 5, ""))
            )
            assert np.array_equal(model(x).scores.tolist(), expected)
            count += 1
        training.result()


def test_no_thread_reads_a_tensor_while_tinygrad_captures():
    """What the page on determinism warns of; steps on a CPU are captured in another way."""
    x, errors = Tensor(np.ones(3, np.float32), device="CPU").realize(), []

    def read():
        try:
            x.numpy()
        except JitError as error:
            errors.append(error)

    def captured(y):
        thread = Thread(target=read)
        thread.start()
        thread.join()
        return (y + 1).realize()

    jit = TinyJit(captured)
    jit.cnt = 1  # without the first, uncaptured call
    jit(Tensor(np.ones(3, np.float32), device="CPU").realize())
    assert len(errors) == 1


@pytest.mark.slow
def test_caches_that_were_outgrown_or_not_used_for_long_are_given_back():
    lm = make(12, 3)
    for n in (1, 2, 9, 17):
        for tokens in (3, 67, 129):
            for length in (5, 65, 260):
                Request("generate", length, n, tokens).ask(lm, ["CPU", "CPU:1"])
    with workspace_of(lm) as workspace:
        for decoder in workspace.by_device.values():
            assert len(decoder.caches) <= CACHES
            alive = {cache.layers for cache in (*decoder.caches.values(), decoder.prefix)}
            for key in decoder._steps:
                # By the buffers themselves: their address may be another's tomorrow.
                assert set() < {part for part in key if isinstance(part, Layers)} <= alive


@pytest.mark.slow
def test_memory_is_bounded_after_two_hundred_calls():
    """As many calls once more take no more, within what an allocator rounds up."""
    lm, rng = make(12, 3), random.Random(3)
    work = [Request("generate", rng.randrange(2, 260), rng.choice([1, 2, 5])) for _ in range(200)]
    peaks = []
    for start in (0, 100, 0, 100):
        for request in work[start : start + 100]:
            request.ask(lm)
        peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
    unit = 1 if sys.platform == "darwin" else 1024
    assert (peaks[3] - peaks[1]) * unit < 20e6


def test_calls_that_end_together_leave_no_more_workspaces_than_are_kept():
    lm = make(2, 3)

    def take(count):
        with ExitStack() as stack:
            taken = [stack.enter_context(workspace_of(lm)) for _ in range(count)]
            used = [bool(workspace.by_device) for workspace in taken]
            for workspace in taken:
                workspace.decoders(["CPU"])
        return used

    assert take(SPARE + 3) == [False] * (SPARE + 3)
    assert take(SPARE + 3) == [True] * SPARE + [False] * 3
