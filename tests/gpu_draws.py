"""What the kernels for GPUs draw, for whatever runs a kernel, against the formula on the host.

A runner takes a kernel, the arrays that it writes and those that it reads, and returns the former
as the kernel leaves them.
"""

import numpy as np
from gpu_numbers import changed

from edifice_tt.nn import exponentials
from edifice_tt.nn.gpu import draws
from edifice_tt.sampling.draws import Sampler, as_told

# By the filters that they pass, since rows that draw together pass the same.
SAMPLERS = {
    (): [Sampler(t) for t in (0.0, 0.8, 1.0, 0.01, 50.0)],
    ("top_k",): [Sampler(0.8, 1), Sampler(0.8, 20), Sampler(1.0, 90), Sampler(3.0, 7)],
    ("top_p",): [Sampler(0.8, 0, 0.9), Sampler(1.0, 0, 0.999), Sampler(2.0, 0, 0.3)],
    ("top_k", "top_p"): [Sampler(0.7, 40, 0.93), Sampler(1.0, 91, 0.47), Sampler(1.0, 7, 1e-9)],
}
KINDS = ("any", "flat", "equals", "all equal", "near", "forbidden", "huge", "zeros")


def spread(rng, kind, size):
    """Logits as a model's: a few tokens are likely, most are not; or odd ones."""
    logits = rng.standard_gamma(0.4, size) * 6
    if kind == "equals":
        logits = np.round(logits)
    elif kind == "flat":
        logits = rng.normal(scale=0.1, size=size)
    elif kind == "all equal":
        logits[:] = -3
    elif kind == "near":
        logits = 5 + 1e-6 * rng.integers(0, 9, size)
    elif kind == "forbidden":
        logits[rng.random(size) < 0.9] = -np.inf
        logits[rng.integers(size)] = 1
    elif kind == "huge":
        logits *= rng.choice([1e4, 1e10, 1e30])
    elif kind == "zeros":
        logits = np.where(rng.random(size) < 0.5, 0.0, -0.0) - (rng.random(size) < 0.3)
    return logits.astype(np.float32)


def drawn_by(run, dialect, logits, asked, mistake=None, **how):
    """What rows (B, V) ask for, as the kernels draw it; `mistake` is (room, old, new)."""
    rows, size = logits.shape
    (filters,) = {draws.filters_of(one, size) for one in asked.values() if one.temperature} or {()}
    made = draws.kernels(rows, size, dialect, filters, **how)
    if mistake:
        room, *words = mistake
        made = [changed(k, *words) if k.name.split("_")[0] == room else k for k in made]
    known = {"logits": logits.view(np.uint32), "asked": draws.words_of(asked, rows, size)}
    parts = -(-size // draws.PART)
    shapes = {"highest": (rows, parts), "weights": (rows, size), "sums": (rows, parts, 4)}
    shapes |= {"to": (rows, 3), "drawn": (rows, 7)}
    for kernel in made:
        kinds = {"weights": np.float32}
        written = [np.full(shapes[p.name], 7, kinds.get(p.name, np.uint32)) for p in kernel.written]
        found = run(kernel, written, [known[p.name] for p in kernel.read])
        arrays = zip(kernel.written, found, strict=True)
        known |= {{"to": "edges"}.get(p.name, p.name): a.reshape(shapes[p.name]) for p, a in arrays}
    return {row: draws.drawn_of(known["drawn"].view(np.uint32)[row]) for row in asked}


def left_of(run, dialect, kind, size, filters, mistake=None, position=3, **how):
    """Check that what is drawn is the formula's, bit for bit; returns the rows left to it."""
    rng, samplers = np.random.default_rng(size), SAMPLERS[filters]
    logits = np.stack([spread(rng, kind, size) for _ in samplers])
    asked = {row: sampler.ask(row, position) for row, sampler in enumerate(samplers)}
    drawn = drawn_by(run, dialect, logits, asked, mistake, **how)
    for row, one in drawn.items():
        if one is not None:
            exact = logits[row].astype(np.float64)
            assert one.total == exponentials.total(exact - exact.max()), samplers[row]
            expected = samplers[row].draw_by_formula(logits[row], row, position)
            assert as_told(one) == expected, samplers[row]
    return [row for row, one in drawn.items() if one is None]
