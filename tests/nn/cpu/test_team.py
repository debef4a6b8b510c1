"""A team: the same bits as one thread, whoever does the parts; nobody waits for who does not come.

`left_to_helpers` makes a leader that does no part itself: helpers do them all, whoever is faster.
"""

import ctypes
import os
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
from block_formats import blocks, depth_of, each
from processors import kernel_of, left_to_helpers, normal, run_here
from test_kernels import RECURRENT, layer_and_input
from tinygrad import Tensor

import edifice_tt as et
from edifice_tt.engine import lockstep
from edifice_tt.engine.lockstep import cores_for
from edifice_tt.machine.toolchain import prepare_compiler
from edifice_tt.nn.cache import KVCache
from edifice_tt.nn.cpu import team as teams
from edifice_tt.nn.cpu.team import Team
from edifice_tt.nn.formats import FORMATS
from edifice_tt.nn.stored.blocks import QuantizedLinear
from edifice_tt.nn.stored.int8 import KINDS, Int8Linear, group_rows

# A leader that waits until a helper has begun, who then takes his time.
LATE = """
static volatile int begun[2], done[2];
static void late(const void *of, long part, long member) {
  team *t = (team *)of;
  begun[member] = 1;
  while (!begun[1 - member]) t->give_way();
  for (int i = 0; member && i < 20000; i++) t->give_way();
  done[part] = 1;
}
int lead(team *t) {
  do_parts(t, 2, late, t);
  return done[0] + done[1];
}
"""


# A helper alone, who is told that it is over, and at once or not.
WAITED_FOR = """
static int done;
static void count(const void *of, long part, long member) { done++; }
int linger(team *t, long over) {
  done = 0;
  t->job = count, t->parts = 2, t->members = 2, t->over = over;
  t->of_member[0].left = t->of_member[1].left = 1;
  assist(t, 1);
  return done;
}
"""


@pytest.fixture
def team(monkeypatch):
    """Three threads, who share the smallest product."""
    monkeypatch.setattr(teams, "LEAST", 1)
    with teams.gather(3) as found:
        yield found


def compiled(driver, folder):
    source = Path(teams.__file__).with_name("c").joinpath("team.c").read_text()
    library = folder / "team.so"
    command = [prepare_compiler(), "-x", "c", "-O2", "-fPIC", "-shared", "-", "-o", str(library)]
    source = f"#define LINE 64\n#define MEMBERS 16\n{source}{driver}"
    subprocess.run(command, input=source, text=True, check=True)
    return ctypes.CDLL(str(library))


def test_a_job_has_ended_when_its_last_part_has(team, tmp_path):
    with teams.gather(2) as pair, pair:
        assert compiled(LATE, tmp_path).lead(ctypes.c_void_p(pair.pointer)) == 2


def test_after_a_step_helpers_linger_for_a_job_until_the_team_is_closed(tmp_path):
    linger, team = compiled(WAITED_FOR, tmp_path).linger, teams.Team(1, teams._yield_address())
    address = ctypes.c_void_p(team.pointer)
    assert linger(address, ctypes.c_long(teams._LINGERS)) == 2
    assert linger(address, ctypes.c_long(teams._CLOSED)) == 0


def all_left_to_helpers(kernel):
    return kernel._replace(source=left_to_helpers(kernel.source))


def rows_for(team, *rows, held=(0, 0)):
    address = team.address if team else (0, 0)
    return Tensor(np.array([*held, len(rows), *address, *rows], np.int32))


@pytest.mark.slow
@pytest.mark.parametrize("kind", each(FORMATS))
def test_every_format_has_the_same_bits_when_columns_are_shared(
    rng, team, kind, tmp_path, monkeypatch
):
    """And one row, whose blocks are unpacked on the way, the bits of one among others."""
    raw, x = blocks(rng, kind, 61, depth_of(kind)), Tensor(normal(rng, 3, depth_of(kind)))
    layers = [QuantizedLinear(Tensor(raw), kind)]
    layers += [Int8Linear(Tensor(group_rows(raw, kind)), kind, 61)] if kind in KINDS else []
    for layer in layers:
        call = partial(layer, x, rows_for(team, 0, 1, 2))
        kernel = kernel_of(monkeypatch, call)
        with team:
            found = run_here(all_left_to_helpers(kernel), "", tmp_path)
        assert (found == layer(x).numpy()).all()
        assert (layer(x[:1]).numpy() == found[:1]).all()


@pytest.mark.slow
@pytest.mark.parametrize("kept", ["float32", "float16", "int8"])
@pytest.mark.parametrize(
    "options",
    [
        {"num_kv_heads": 3, "qk_norm": "head", "windows": (3,)},
        {"num_kv_heads": 6, "gated_attention": True, "residual_scale": 0.5, "norms": "both"},
        {"experts": 5, "experts_used": 2, "expert_size": 37},
        RECURRENT,
    ],
    ids=["attention", "gates", "experts", "recurrence"],
)
def test_a_layer_has_the_same_bits_when_heads_columns_and_rows_are_shared(
    rng, team, options, kept, tmp_path, monkeypatch
):
    """Rows behind a prompt of 5 tokens, of which some are wanted: attention and states as well."""
    block, x, tables, _ = layer_and_input(rng, 13, 1, **options)
    wanted = [0, 2, 3, 5, 6, 8, 9, 11, 12]
    kernels = []
    for by in (None, team):
        prefix, own = (KVCache.empty(block.config, b, 8, "CPU", kept) for b in (1, 13))
        prompt = Tensor(normal(np.random.default_rng(3), 1, 5, 42))
        seen = prefix.seen(5, "CPU")
        read = partial(block, tables=tables, seen=seen)
        read(prompt, cache=prefix.holding(0).wanting_all(prompt)).realize()
        rows = rows_for(by, *wanted, held=(5, 0))
        cache = own.holding(0, prefix.holding(5), rows)
        kernels.append(kernel_of(monkeypatch, partial(read, x, cache=cache)))
    alone = run_here(kernels[0], "", tmp_path).copy()
    with team:
        shared = run_here(all_left_to_helpers(kernels[1]), "", tmp_path)
    assert (shared[wanted] == alone[wanted]).all()
    assert (kernels[0].written[1] == kernels[1].written[1]).all()
    assert np.abs(alone[wanted]).min() > 0


def generate(lm, n, **options):
    """What is drawn, and how likely it was, by bits."""
    pool = et.generate(lm, "again", n=n, max_tokens=12, temperature=2.0, seed=3, **options)
    return [(one.token_ids, one.token_logprobs) for one in pool]


@pytest.fixture
def cores(monkeypatch):
    """Seven, more than there are, who share the smallest product."""
    monkeypatch.setattr(teams, "LEAST", 1)
    monkeypatch.setattr(
        lockstep, "devices_beside", lambda _: ["CPU", *(f"CPU:{i}" for i in range(1, 7))]
    )


@pytest.fixture
def alone(tiny_lm):
    return {n: generate(tiny_lm, n, devices=["CPU"]) for n in (1, 3, 16)}


def test_one_core_and_all_cores_draw_the_same(tiny_lm, cores, alone, monkeypatch):
    """One row, many and one again."""
    made = []
    monkeypatch.setattr(teams, "Team", lambda *a: made.append(Team(*a)) or made[-1])
    for n in (1, 16, 1, 3):
        assert generate(tiny_lm, n) == alone[n]
    assert len(made) == 8  # of each prompt, and of each decoding
    assert {len(team._helpers) for team in made} == {6}
    assert not any(thread.is_alive() for team in made for thread, _ in team._helpers)


def test_helpers_are_gone_after_an_exception_and_the_next_call_is_as_before(tiny_lm, cores, alone):
    def stop(event):
        if len(seen) == 3:
            raise LookupError
        seen.append(event)

    seen, before = [], threading.active_count()
    with pytest.raises(LookupError):
        generate(tiny_lm, 1, on_token=stop)
    assert threading.active_count() == before
    assert generate(tiny_lm, 1) == alone[1]


def test_two_threads_that_decode_at_once_have_a_team_each(tiny_lm, cores, alone):
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(partial(generate, tiny_lm), [1, 3, 3, 1]))
    assert found == [alone[n] for n in (1, 3, 3, 1)]


def test_a_process_that_is_forked_while_a_team_decodes_goes_on_alone(tiny_lm, cores, alone):
    children = []

    def fork(event):
        if event.index == 0 and len(children) == 0:
            children.append(os.fork())

    parent = os.getpid()
    try:
        found = generate(tiny_lm, 1, on_token=fork) == alone[1]
    finally:
        if os.getpid() != parent:
            os._exit(0 if found else 1)
    assert found
    assert os.waitstatus_to_exitcode(os.waitpid(children[0], 0)[1]) == 0


def test_where_no_thread_is_to_be_had_one_core_decodes(tiny_lm, cores, alone, monkeypatch):
    monkeypatch.setattr(teams.Thread, "start", Mock(side_effect=RuntimeError))
    assert generate(tiny_lm, 3) == alone[3]


def test_devices_that_are_named_are_the_cores_that_are_used(tiny_lm):
    assert cores_for(tiny_lm, ["CPU"]) == 1
    assert cores_for(tiny_lm, ["CPU", "CPU:1", "CPU:2"]) == 3
