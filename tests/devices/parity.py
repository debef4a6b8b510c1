"""Every numeric path of the library on one device, against references that know no device.

A program, for tinygrad chooses its device once a process:

DEV=CL python tests/devices/parity.py              # largest errors, as JSON on the last line
DEV=CL python tests/devices/parity.py --break rope # and that of a model that turns wrong pairs
"""

import os

os.environ["PARALLEL"] = "0"  # kernels are compiled, and looked at, in this process

import argparse
import itertools
import json
import sys
import tempfile
import time
from contextlib import suppress
from functools import partial
from pathlib import Path
from unittest import mock

sys.path.extend(str(Path(__file__).parents[1] / folder) for folder in ("", "weights", "rendering"))

import block_formats
import gpu_draws
import gpu_numbers
import mistakes
import numpy as np
import numpy_reference as reference
import played_device
import test_gguf
from kernel_log import KernelLog
from tinygrad import Device, Tensor, dtypes
from tinygrad.helpers import DEV, GlobalCounters
from tinygrad.nn.state import get_state_dict, safe_load
from tolerances import tolerance

import edifice_tt as et
from edifice_tt.engine import branches, captures, decoder, hidden, rows
from edifice_tt.engine import draws as drawing
from edifice_tt.machine.toolchain import open_device
from edifice_tt.nn import ops
from edifice_tt.nn.formats import FORMATS
from edifice_tt.nn.gpu import bridge as gpu
from edifice_tt.nn.gpu import kernels
from edifice_tt.nn.gpu.draws import drawn_of as told
from edifice_tt.nn.gpu.table import product_for
from edifice_tt.nn.ops import Memory
from edifice_tt.nn.stored.blocks import QuantizedLinear, layer_at
from edifice_tt.pools.candidates import Candidate
from edifice_tt.pools.pool import Pool
from edifice_tt.sampling.draws import Sampler
from edifice_tt.scoring import heads
from edifice_tt.training.examples import Example, shape_of
from edifice_tt.training.loop import Loop, Schedule
from edifice_tt.training.losses import outcome_loss
from edifice_tt.weights import gguf

GOLDEN = Path(__file__).parents[1] / "golden"
INDEX = json.loads((GOLDEN / "index.json").read_text())["files"]
# Each a multiple of what a tensor core takes at once: 8 x 8 x 8 (Metal), 8 x 16 x 16 (CUDA).
SIZES = {
    "vocab_size": 32,
    "context_length": 64,
    "hidden_size": 16,
    "num_layers": 1,
    "num_heads": 4,
    "num_kv_heads": 2,
    "ffn_size": 48,
    "scorer": "linear",
}
IN_BLOCKS = {"hidden_size": 256, "head_dim": 64, "ffn_size": 256}
RECURRENT = {
    "num_layers": 2,
    "recurrent_layers": (0,),
    "delta_key_heads": 2,
    "delta_value_heads": 4,
}
RECURRENT |= {"delta_key_size": 8, "delta_value_size": 8, "delta_conv": 4, "gated_attention": True}
SMALL = {"hidden_size": 8, "num_layers": 1, "num_heads": 2, "num_kv_heads": 1, "scorer_hidden": 8}
PROMPT = "thequickbrownfoxjumps"  # longer than a chunk of 16
SETTINGS = {"n": 3, "temperature": 1.0, "seed": 4, "max_tokens": 4, "batch_size": 4}


# Rows, threads of a group, parts, and whether there is a bias.
GROUPS = ((1, 64, 1, False), (5, 32, 2, True), (16, 128, 1, True), (21, 32, 1, True))
GROUPS += ((37, 64, 2, False), (67, 128, 1, False))


def groups_formula(*_):
    """The gradient is of no concern here."""


def _leaving(calls):
    """What the kernels found, but for draws of some numbers, which are left to the formula."""
    number = itertools.count()
    return mock.Mock(side_effect=lambda words: None if next(number) in calls else told(words))


class Letters:
    """A tokenizer of 31 letters, and 0 that ends."""

    stop_ids = frozenset({0})
    vocab_size = 32

    def encode(self, text):
        return [ord(letter) - 96 for letter in text]

    def decode(self, ids):
        return "".join(chr(96 + i) for i in ids)

    def token_bytes(self, token_id):
        return self.decode([token_id]).encode()


def rounded(values, dtype):
    """float32 numbers that the dtype holds exactly, rounded on the host to the nearest even."""
    if dtype == "float16":
        return values.astype(np.float16).astype(np.float32)
    if dtype == "bfloat16":
        bits = values.view(np.uint32).astype(np.uint64)
        bits += 0x7FFF + (bits >> 16 & 1)
        return (bits & 0xFFFF0000).astype(np.uint32).view(np.float32)
    return values


def worst(actual, expected):
    """The largest absolute error; NaN counts as infinite."""
    actual, expected = np.asarray(actual, np.float64), np.asarray(expected, np.float64)
    assert actual.shape == expected.shape
    error = float(np.abs(actual - expected).max())
    return error if np.isfinite(error) else float("inf")


class Parity:
    """The checks on one device; each returns its largest error."""

    def __init__(self, device, **options):
        self.device, self.sizes = device, SIZES | options
        self.models = {}

    def lm(self, dtype):
        """A language model and its weights as the reference reads them; `dtype` may be a format."""
        if dtype in FORMATS and dtype not in self.models:
            self.models[dtype] = self._in_blocks(dtype)
        if dtype not in self.models:
            model = et.build("causal_lm", **self.sizes, seed=3, device=self.device)
            model.tokenizer = Letters()
            exact = {}
            for name, weight in get_state_dict(model).items():
                # Embeddings large enough that some tokens are likely; biases that are not 0.
                values = weight.numpy() * (3 if name == "token_embedding.weight" else 1)
                values = rounded(values + 0.1 * name.endswith("bias"), dtype)
                exact[name] = values.astype(np.float64)
                placed = Tensor(values, device=self.device).cast(getattr(dtypes, dtype))
                weight.replace(placed.contiguous().realize())
            self.models[dtype] = model, exact
        return self.models[dtype]

    def _model(self, kind):
        return self.lm(kind)[0]

    def _in_blocks(self, kind):
        """The same with random blocks for matrices. What is multiplied with them is about 1."""
        model = et.build("causal_lm", **self.sizes | IN_BLOCKS, seed=3, device=self.device)
        model.tokenizer = Letters()
        rng, exact = np.random.default_rng(8), {}
        for name, weight in get_state_dict(model).items():
            path, _, _ = name.rpartition(".")
            if weight.ndim == 2 and not name.startswith("scorer"):
                raw = block_formats.blocks(rng, kind, *weight.shape)
                exact[name] = block_formats.floats(raw, kind).astype(np.float64)
                parent, _, own = path.rpartition(".")
                layer = QuantizedLinear(Tensor(raw, device=self.device).realize(), kind)
                layer.bias = layer_at(model, path).bias
                setattr(layer_at(model, parent) if parent else model, own, layer)
                continue
            values = weight.numpy() + 0.1 * name.endswith("bias")
            if name.endswith("norm.weight"):
                size = np.sqrt((exact["token_embedding.weight"] ** 2).mean() * weight.shape[0])
                values = values * (2 if "final" in name else 1) / size
            exact[name] = values.astype(np.float64)
            placed = Tensor(exact[name].astype(np.float32), device=self.device)
            weight.replace(placed.contiguous().realize())
        return model, exact

    def expected(self, dtype, ids):
        """Hidden states (T, D) and logits (T, V) of token ids, in float64."""
        model, w = self.lm(dtype)
        below = {n.removeprefix("backbone."): v for n, v in w.items()}
        states = reference.backbone(
            w["token_embedding.weight"][list(ids)], below, model.config.backbone
        )
        return states, states @ w["token_embedding.weight"].T

    def logits(self, dtype):
        ids = [(7 * t + 3) % 32 for t in range(16)]
        out = self.lm(dtype)[0]([ids])
        return worst(out.logits.numpy()[0], self.expected(dtype, ids)[1])

    def jit(self, dtype, devices=None):
        """Captured, two rows a call; the results of the first must outlive the others."""
        fast = et.jit(self.lm(dtype)[0], devices)
        ids = [[(5 * t + row) % 32 for t in range(8)] for row in range(6)]
        count = 2 * len(devices or [0])
        parts = [ids[:count], ids[-count:], ids[:count]]
        given = [Tensor(part, dtype=dtypes.int32, device=self.device) for part in parts]
        results = [fast(one).logits for one in given]
        expected = [[self.expected(dtype, row)[1] for row in part] for part in parts]
        return worst([result.numpy() for result in results], expected)

    def generate(self, dtype, **settings):
        """Log-probabilities and draws of sampled tokens, against a model without a cache."""
        model, _ = self.lm(dtype)
        pool = et.generate(model, PROMPT, **SETTINGS | settings)
        prompt, errors = model.tokenizer.encode(PROMPT), []
        sampler = Sampler(temperature=pool.settings["temperature"], seed=pool.settings["seed"])
        for candidate in pool:
            _, logits = self.expected(dtype, [*prompt, *candidate.token_ids])
            for position, token in enumerate(candidate.token_ids):
                row = logits[len(prompt) + position - 1]
                exact = row[token] - row.max() - np.log(np.exp(row - row.max()).sum())
                errors.append(abs(candidate.token_logprobs[position] - exact))
                if dtype == "float32":  # weights of 16 bits may move a draw over an edge
                    assert token == sampler.draw(row, candidate.index, position)[0]
        assert len({candidate.token_ids for candidate in pool}) > 1 or not sampler.temperature
        return max(errors)

    def greedy(self, dtype):
        return self.generate(dtype, n=1, temperature=0)

    def two_devices(self, dtype):
        """The rows of a batch, and of a prompt's answers, shared out."""
        both = [self.device, f"{self.device}:1"]
        return max(self.jit(dtype, both), self.generate(dtype, n=8, devices=both))

    def recurrent(self, dtype):
        """The same of a layer with a state, and one whose attention is gated."""
        return Parity(self.device, **RECURRENT).generate(dtype)

    def drawn(self, _):
        """Kinds of logits from which the device draws otherwise than the formula."""
        wrong = 0
        for filters in gpu_draws.SAMPLERS:
            for kind in ("any", "equals", "flat"):
                try:
                    gpu_draws.left_of(self._run, gpu.dialect_of(self.device), kind, 1009, filters)
                except AssertionError as error:
                    print(f"drawn from {kind}: {error}", file=sys.stderr)
                    wrong += 1
        return float(wrong)

    def draws(self, dtype):
        """Candidates whose tokens or log-probabilities the device draws otherwise than the host."""
        model, _ = self.lm(dtype)

        def generate(**settings):
            pool = et.generate(model, PROMPT, **SETTINGS | settings)
            return [(c.token_ids, c.token_logprobs, c.finish_reason) for c in pool]

        asks = [{}, {"top_k": 5}, {"n": 1, "temperature": 0}, {"confidence": ["entropy"]}]
        asks += [{"top_p": 0.8}, {"top_k": 9, "top_p": 0.9, "n": 4}, {"temperature": 1e-4}, {}]
        asks += [{"temperature": 0.7, "seed": 9}]
        found = []
        for serves, leaves in ((False, ()), (True, ()), (True, (1, 2))):
            with mock.patch.object(drawing, "serves", lambda *_, of=serves: of):
                with mock.patch.object(captures.draws, "drawn_of", _leaving(leaves)) as told:
                    found.append([generate(**asked) for asked in asks])
                assert bool(told.call_count) == serves
        return float(
            sum(a != b for other in found[1:] for a, b in zip(found[0], other, strict=True))
        )

    def experts(self, kind):
        """Logits of a mixture, whose matrices are in blocks: products of parts are added up."""
        sizes = {"experts": 4, "experts_used": 2, "expert_size": 256}
        return Parity(self.device, **sizes).logits(kind)

    def recurrent_forks(self, dtype):
        """The same of a layer with a state."""
        return Parity(self.device, **RECURRENT).forks(dtype)

    def forks(self, dtype):
        """Logits of rows that are copied, dropped and begun, of unequal lengths in one batch."""
        model, _ = self.lm(dtype)
        prompt, errors = model.tokenizer.encode(PROMPT), []
        rows = branches.Branches([decoder.Decoder(lambda: model)], prompt, 16, batch_size=4)
        until = {}

        def draw(row, logits):
            token = (7 * len(row.ids) + 5 * until[id(row)]) % 31 + 1
            return token, len(row.ids) + 1 < until[id(row)]

        level = [rows.begin() for _ in range(3)]
        for steps in ((1, 4, 2), (5, 6, 9, 2), (12, 11, 10, 7)):
            until.update({id(row): end for row, end in zip(level, steps, strict=True)})
            rows.advance(level, draw)
            for row in level:
                _, logits = self.expected(dtype, [*prompt, *row.ids])
                errors.append(worst(row.logits, logits[-1]))
            level = [level[1], level[0].fork(), level[0].fork(), level[1].fork()]
        # The row that began last has read no token of another's.
        assert rows.again == 0
        assert rows.padding > 0 or self.device == "CPU"
        return max(errors)

    def kept(self, kv_dtype):
        """The same of rows whose keys and values are kept in 16 bits, against float64."""
        model, _ = self.lm("float32")
        model.kv_dtype = kv_dtype
        try:
            return self.forks("float32")
        finally:
            model.kv_dtype = "float32"

    def hidden(self, dtype):
        """Hidden states of answers of several lengths, and the head's scores of them."""
        model, w = self.lm(dtype)
        answers = [(3, 1, 4, 1, 5), (9, 2), (6,) * 9]
        pool = Pool(PROMPT, tuple(Candidate(i, "", ids) for i, ids in enumerate(answers)))
        states = hidden.read_hidden(model, pool)
        prompt = model.tokenizer.encode(PROMPT)
        exact = [self.expected(dtype, [*prompt, *ids])[0][len(prompt) :] for ids in answers]
        errors = [worst(one, other) for one, other in zip(states, exact, strict=True)]
        scored = et.score(model, pool, scorer="linear")
        for candidate, state in zip(scored, exact, strict=True):
            score = state[-1] @ w["scorer.dense.weight"][0] + w["scorer.dense.bias"][0]
            errors.append(abs(candidate.scores["linear"] - score))
        return max(errors)

    def golden(self, name):
        """The original's recorded numbers."""
        path = GOLDEN / f"{name}.safetensors"
        recorded = {key: tensor.numpy() for key, tensor in safe_load(path).items()}
        model = et.load_edifice(path, **INDEX[name]["options"], device=self.device)
        out = model(recorded["input"])
        errors = [worst(getattr(out, k).numpy(), recorded[k]) for k in ("backbone", "scores")]
        return max(errors)

    def quantized(self, kind):
        """Products with blocks, and rows of them, unpacked by their definition."""
        rng = np.random.default_rng(5)
        rows, depth = 16, max(64, FORMATS[kind].weights)
        raw = block_formats.blocks(rng, kind, rows, depth)
        exact = block_formats.floats(raw, kind).astype(np.float64)
        layer = QuantizedLinear(Tensor(raw, device=self.device), kind)
        x = rng.normal(size=(16, depth)).astype(np.float32)
        y = layer(Tensor(x, device=self.device)).numpy()
        ids = Tensor(np.array([[3, 11]], np.int32), device=self.device)
        looked_up = worst(layer.rows(ids).numpy()[0], exact[[3, 11]])
        return max(looked_up, worst(y, x.astype(np.float64) @ exact.T))

    def two_groups(self, kind):
        return self.groups(kind, GROUPS[1::3])

    def groups(self, kind, sizes=GROUPS):
        """Products and rows by the kernels of GPUs, in groups of several sizes; relative.

        Where the device multiplies matrices in hardware, products with those and without.
        """
        dialect = str(gpu.dialect_of(self.device)).removesuffix("_cpu")
        matrices = gpu.has_matrices(self.device)
        rng, columns, depth = np.random.default_rng(5), 37, block_formats.depth_of(kind)
        errors = []
        for count, threads, parts, has_bias in sizes:
            raw = block_formats.blocks(rng, kind, parts * columns, depth)
            exact = block_formats.floats(raw, kind).astype(np.float64).reshape(parts, columns, -1)
            x = rng.normal(size=(count, parts * depth)).astype(np.float32)
            bias = rng.normal(size=columns).astype(np.float32)
            matrix = kernels.Matrix(kind, columns, has_bias)
            product = kernels.Product(count, depth, (matrix,), parts)
            given = [x, raw, bias] if has_bias else [x, raw]
            y = np.einsum("rpd,pcd->rc", x.reshape(count, parts, depth).astype(np.float64), exact)
            y += bias if has_bias else 0
            for way in {product_for(dialect, count, has) for has in (False, matrices)}:
                kernel = kernels.kernel_of(product, way, threads)
                found = self._call(kernel, (count, columns), given)
                errors.append(worst(found / y.max(), y / y.max()))
            ids = np.array([3, columns * parts, columns - 1, -1], np.int32)
            kernel = kernels.rows_of(kind, 4, columns * parts, depth, threads)
            expected = np.zeros((4, depth))
            expected[::2] = exact[0, ids[::2]]
            errors.append(worst(self._call(kernel, (4, depth), [ids, raw]), expected))
        return max(errors)

    def _call(self, kernel, shape, given):
        out = Tensor.invalids(*shape, dtype=dtypes.float32, device=self.device)
        read = [Tensor(one, device=self.device).realize() for one in given]
        with self._as_a_gpu():
            return gpu.call(kernel, [out], read, groups_formula)[0].numpy()

    def step(self, kind):
        """Numbers of a step that differ in a row alone and among others; 7 kernels a layer."""
        logits, counts = [], []
        for layers, count in ((1, 1), (2, 1), (2, 5)):
            other = Parity(self.device, **self.sizes | {"num_layers": layers})
            of = decoder.Decoder(partial(Parity._model, other, kind))
            of.read_prompt(Letters().encode(PROMPT))
            cache = of.cache_for(count, 4)
            given = np.full((cache.batch, 1), 5, np.int32)
            for at in range(4):
                before = GlobalCounters.kernel_count
                found = of.step(given, cache.holding(at, of.prefix), range(count))[1]
                counts.append(GlobalCounters.kernel_count - before)
            logits.append(found[:count].copy())
        assert counts[7] - counts[3] == counts[11] - counts[3] == 7
        return float((logits[1] != logits[2]).sum())

    def layers(self, names="", mistake=None, room=""):
        """The kernels of a layer, relative; of some cases, with a mistake in a room."""
        dialect = str(gpu.dialect_of(self.device)).removesuffix("_cpu")  # those of GPUs
        matrices, errors = gpu.has_matrices(self.device), []
        ways = partial(product_for, dialect, has_matrices=matrices)
        for name in names or (*gpu_numbers.PRODUCTS, *gpu_numbers.READS):
            if (case := gpu_numbers.PRODUCTS.get(name)) is not None:
                errors.append(gpu_numbers.error_of_products(self._run, ways, case, mistake))
            else:
                case = gpu_numbers.READS[name]
                errors.append(gpu_numbers.error_of_attention(self._run, case, mistake, room))
        return max(*errors, gpu_numbers.error_of_join(self._run))

    def _run(self, kernel, written, read):
        tensors = [[Tensor(a, device=self.device).realize() for a in s] for s in (written, read)]
        with self._as_a_gpu():
            return [one.numpy() for one in gpu.call(kernel, *tensors)]

    def _as_a_gpu(self):
        """Kernels have the text that a GPU is given, where OpenCL runs on a processor, too."""
        dialect = str(gpu.dialect_of(self.device)).removesuffix("_cpu")
        return mock.patch.object(gpu, "dialect_of", return_value=dialect)

    def read_gguf(self, _):
        """A file's tensors, each format and size by a captured graph that is replayed."""
        rng = np.random.default_rng(0)
        kinds = (test_gguf.F16, test_gguf.Q4_1, test_gguf.Q8_0)
        made = {
            f"{kind}.{i}": (kind, *test_gguf.FORMATS[kind](rng)) for i in range(3) for kind in kinds
        }
        tensors = {name: (kind, (2, 256), content) for name, (kind, content, _) in made.items()}
        with tempfile.TemporaryDirectory() as folder:
            path = test_gguf.write_gguf(Path(folder, "m.gguf"), {}, tensors)
            found = gguf.read_gguf(path, self.device).tensors
        return max(
            worst(found[n].numpy().ravel(), exact.ravel()) for n, (*_, exact) in made.items()
        )

    def save(self, _):
        """What is loaded again is what was saved. The error is the number of other weights."""
        model = et.build("test_time_compute", embed_dim=4, **SMALL, device=self.device)
        with tempfile.TemporaryDirectory() as folder:
            et.save(model, Path(folder, "m.safetensors"))
            again = get_state_dict(et.load(Path(folder, "m.safetensors"), self.device))
        weights = get_state_dict(model)
        return float(sum((again[n].numpy() != w.numpy()).sum() for n, w in weights.items()))

    def select(self, _):
        """Which of N is best: ties, NaN and infinities. The error is the number of wrong ones."""
        nan, inf = float("nan"), float("inf")
        columns = [[3.0, 3.0, nan], [nan, 1.0, 2.0], [nan, nan, -inf], [nan] * 3, [1.0, inf, inf]]
        scores = Tensor(np.array(columns, np.float32).T.copy(), device=self.device)
        best = et.select_best_of_n(scores).numpy()
        assert best.dtype == np.int32
        return float((best != [0, 2, 2, 0, 1]).sum())

    def extremes(self, dtype):
        """Large numbers in 16 bits, and memories of which nothing is seen."""
        kind, rng = getattr(dtypes, dtype), np.random.default_rng(7)
        x = rounded((3e4 * rng.uniform(-1, 1, (1, 3, 16))).astype(np.float32), dtype)
        gain = Tensor.ones(16, device=self.device).cast(kind)
        given, exact = Tensor(x, device=self.device).cast(kind), x.astype(np.float64)
        normed = ops.rms_norm(given, gain, 1e-6).float().numpy()
        errors = [worst(normed, reference.rms_norm(exact, 1.0, 1e-6))]
        normed = ops.layer_norm(given, gain, gain, 1e-5).float().numpy()
        errors.append(worst(normed, reference.layer_norm(exact, 1.0, 1.0, 1e-5)))
        if dtype != "float32":
            return max(errors)
        # Scores of up to 1e5: the softmax is all but one-hot, and must not overflow.
        q, kv = (100 * rng.standard_normal(s).astype(np.float32) for s in ((3, 4, 4), (2, 3, 2, 4)))
        prefix = Tensor(np.zeros((2, 1, 2, 2, 4), np.float32), device=self.device)
        none, all_three = (
            Tensor(np.array(a, np.int32), device=self.device) for a in ([0], [1, 2, 3])
        )
        memories = [
            Memory(prefix, none),
            Memory(Tensor(kv[:, None], device=self.device), all_three),
        ]
        mixed = ops.attention(Tensor(q[None], device=self.device), memories).numpy()[0]
        parts = (z.transpose(1, 0, 2).astype(np.float64) for z in (q, *kv))
        errors.append(
            worst(mixed / 100, reference.causal_attention(*parts).transpose(1, 0, 2) / 100)
        )
        return max(errors)

    def train(self, _):
        """Three steps of AdamW on a linear head, against the same written out."""
        rng = np.random.default_rng(9)
        head = et.build("causal_lm", **self.sizes, seed=3, device=self.device).scorer
        w, b = head.dense.weight.numpy()[0].astype(np.float64), 0.0
        examples, lr = [], 0.01
        for problem in range(2):
            right = (True, False)
            pool = Pool("", tuple(Candidate(i, "", correct=c) for i, c in enumerate(right)))
            states = [rng.normal(size=(2, 16)).astype(np.float16) for _ in right]
            weights = [np.array([0, 1 + problem], np.float32) for _ in right]
            targets = [np.full(2, float(c), np.float32) for c in right]
            examples.append(Example(pool, states, targets, weights))
        x = np.array([one[1] for example in examples for one in example.states], np.float64)
        y, weight = np.array([1, 0, 1, 0]), np.array([1, 1, 2, 2]) / 6
        first, second = np.zeros(17), np.zeros(17)
        for step in range(1, 4):
            each = weight * (1 / (1 + np.exp(-(x @ w + b))) - y)
            slope = np.append(each @ x, each.sum())
            first = 0.9 * first + 0.1 * slope
            second = 0.999 * second + 0.001 * slope**2
            move = first / (1 - 0.9**step) / (np.sqrt(second / (1 - 0.999**step)) + 1e-8)
            w, b = w - lr * move[:16], b - lr * move[16]
        schedule = Schedule(lr, 0.0, 2, 3, 3, 0)
        inputs = np.zeros(16, np.float32), np.ones(16, np.float32)
        loop = Loop(head, outcome_loss, shape_of(examples), schedule, inputs)
        for epoch in range(1, 4):
            loop._epoch(examples, examples, 0, epoch)
        found = np.append(head.dense.weight.numpy()[0], head.dense.bias.numpy())
        return worst(found, np.append(w, b))

    def random(self, _):
        """tinygrad's own numbers, which dropout draws: the same bits as on its CPU device."""
        drawn = []
        for device in (self.device, "CPU"):
            Tensor.manual_seed(6)
            drawn.append(Tensor.rand(7, 11, device=device).numpy())
        return float((drawn[0] != drawn[1]).sum())


ALL = ("float32", "float16", "bfloat16")
CHECKS = [
    *(("logits", dtype) for dtype in ALL),
    *(("golden", name) for name in INDEX),
    ("jit", "float32"),
    ("generate", "float32"),
    ("greedy", "float32"),
    ("two_devices", "float32"),
    ("hidden", "float32"),
    ("forks", "float32"),
    ("kept", "float16"),
    ("recurrent", "float32"),
    ("recurrent_forks", "float32"),
    *(("quantized", kind) for kind in FORMATS),
    *(("groups", kind) for kind in FORMATS),
    ("layers", ""),
    ("step", "Q6_K"),
    *(("logits", kind) for kind in FORMATS),
    *(("generate", kind) for kind in FORMATS),
    ("experts", "Q8_0"),
    ("read_gguf", ""),
    ("save", ""),
    ("select", ""),
    *(("extremes", dtype) for dtype in ALL),
    ("train", ""),
    ("random", ""),
    ("drawn", ""),
    ("draws", "float32"),
]


def shrink():
    """Chunks as small as a tensor core."""
    decoder.CHUNK = decoder.ROOM = 16
    hidden.ROWS, rows.TOKENS, heads.ROWS = 4, 4, 4


def add_a_second_opencl_device():
    """The same one again, as a device of its own: PoCL shows one only."""
    from tinygrad.runtime.ops_cl import CLDevice

    Device["CL"]
    first = CLDevice.device_ids[0]
    CLDevice.device_ids = (type(first) * 2)(first, first)


def checks_of(device):
    """Those that a machine with so many devices can make: most have one GPU."""
    try:
        Device[f"{device}:1"]
    except Exception:  # as drivers raise
        print("two_devices: left out, there is one", file=sys.stderr)
        return [(check, of) for check, of in CHECKS if check != "two_devices"]
    return CHECKS


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="*", help="checks to run, as they are named in the result")
    parser.add_argument("--break", dest="mistakes", nargs="*", default=[], choices=mistakes.NAMES)
    parser.add_argument("--dtype", default="float32", help="of the weights in what is broken")
    parser.add_argument("--judge", action="store_true", help="fail where an error is too large")
    parser.add_argument("--played", action="store_true", help="by the player of tests/rendering")
    given = parser.parse_args()
    shrink()
    if given.played:
        played_device.play(Device.DEFAULT)
    device = open_device()
    if device == "CL":
        add_a_second_opencl_device()
    log, parity = KernelLog(), Parity(device)
    errors, cores, seconds = {}, {}, {}

    def run(name, check, argument):
        started, before = time.perf_counter(), log.tensor_cores
        try:
            errors[name] = getattr(parity, check)(argument)
        except Exception as error:  # of the check, the player or a driver; the others go on
            errors[name] = float("inf")
            print(f"{name}: {error!r}", file=sys.stderr)
        cores[name] = log.tensor_cores - before
        seconds[name] = round(time.perf_counter() - started, 2)
        print(f"{name}: {errors[name]:.1e}, {seconds[name]} s", file=sys.stderr)

    checks = checks_of(device)
    with suppress(KeyboardInterrupt):  # what was measured is told
        for check, argument in checks:
            name = f"{check} {argument}".strip()
            if given.only is None or name in given.only:
                run(name, check, argument)
        for mistake in given.mistakes:
            with mistakes.made(mistake):
                if mistake in mistakes.IN_BLOCKS:
                    run(mistake, "two_groups", "Q6_K")
                elif mistake in mistakes.IN_LAYERS:
                    run(mistake, "layers", mistakes.CASES[mistakes.IN_LAYERS[mistake][0]])
                else:
                    run(mistake, "logits", given.dtype)
    named = [f"{check} {argument}".strip() for check, argument in checks]
    result = {"device": repr(DEV), "all": named, "errors": errors, "tensor_cores": cores}
    honest = [name for name in errors if name not in mistakes.NAMES]
    result["beyond"] = [name for name in honest if not errors[name] <= tolerance(name)]
    print(json.dumps(result | {"kernels": log.count, "wide": log.wide, "seconds": seconds}))
    if given.judge and (result["beyond"] or not errors):
        sys.exit(f"beyond what is allowed: {', '.join(result['beyond']) or 'nothing was checked'}")


if __name__ == "__main__":
    main()
