"""The player gives a kernel's numbers, known by hand, and finds what a kernel must not do."""

import numpy as np
import pytest
from player import Misplayed

pytestmark = pytest.mark.slow

X = np.arange(3 * 101, dtype=np.float32).reshape(3, 101)  # sums of whole numbers are exact
# The sum of each row: a group a row, 64 threads.
SUM = {
    "metal": """\
#include <metal_stdlib>
using namespace metal;
kernel void total(device float* out, const device float* x, constant int& columns,
                  uint3 gid [[threadgroup_position_in_grid]],
                  uint3 lid [[thread_position_in_threadgroup]]) {
  threadgroup float part[64];
  uint t = lid.x;
  float mine = 0;
  for (int i = t; i < columns; i += 64) mine += x[gid.x * columns + i];
  part[t] = mine;
  for (uint rest = 32; rest > 0; rest /= 2) {
    threadgroup_barrier(mem_flags::mem_threadgroup);
    if (t < rest) part[t] += part[t + rest];
  }
  if (t == 0) out[gid.x] = part[0];
}""",
    "cuda": """\
extern "C" __global__ void __launch_bounds__(64)
total(float* __restrict__ out, const float* __restrict__ x, int columns) {
  __shared__ float part[64];
  unsigned t = threadIdx.x;
  float mine = 0;
  for (int i = t; i < columns; i += 64) mine += x[blockIdx.x * columns + i];
  part[t] = mine;
  for (unsigned rest = 32; rest > 0; rest /= 2) {
    __syncthreads();
    if (t < rest) part[t] += part[t + rest];
  }
  if (t == 0) out[blockIdx.x] = part[0];
}""",
}
USING_METAL = "#include <metal_stdlib>\nusing namespace metal;\n"
BARRIER = {"metal": "threadgroup_barrier(mem_flags::mem_threadgroup);", "cuda": "__syncthreads();"}

dialects = pytest.mark.parametrize("dialect", SUM)


@pytest.fixture
def play(player):
    def play(dialect, source, *arguments, groups=1, threads=64):
        program = getattr(player, dialect)(source)
        name = "total" if "total" in source else "tried"
        return program.play(name, *arguments, groups=(groups, 1, 1), threads=(threads, 1, 1))

    return play


def total(play, dialect, old="", new=""):
    assert old in SUM[dialect]
    source = SUM[dialect].replace(old, new) if old else SUM[dialect]
    return play(dialect, source, np.full(3, np.nan, np.float32), X, 101, groups=3)[0]


def tried(play, dialect, body, *arguments, threads=64):
    """A kernel with a line of a program: `t` is the thread, `out` the first buffer."""
    parameters = {
        "metal": "device float* out, uint3 lid [[thread_position_in_threadgroup]]",
        "cuda": "float* out",
    }[dialect]
    head = {
        "metal": f"{USING_METAL}kernel void tried({parameters})",
        "cuda": f'extern "C" __global__ void tried({parameters})',
    }[dialect]
    thread = {"metal": "lid.x", "cuda": "threadIdx.x"}[dialect]
    source = f"{head} {{ unsigned t = {thread}; {body} }}"
    out = np.zeros(64, np.float32)
    return play(dialect, source, out, *arguments, threads=threads)[0]


@dialects
def test_threads_that_share_memory_add_up_a_row(play, dialect):
    assert total(play, dialect).tolist() == [5050, 15251, 25452]


@dialects
def test_a_missing_barrier_is_found(play, dialect):
    with pytest.raises(Misplayed, match=r"unwritten: thread 0 of group 0 .* at byte 128"):
        total(play, dialect, BARRIER[dialect])


def test_a_barrier_for_other_memory_is_none(play):
    with pytest.raises(Misplayed, match=r"race: thread 0 .* thread 32 .* no barrier between"):
        total(play, "metal", "mem_threadgroup", "mem_device")
    body = "out[t] = t; threadgroup_barrier(mem_flags::%s); float x = out[63 - t]; "
    body += "threadgroup_barrier(mem_flags::%s); out[t] = x;"
    found = tried(play, "metal", body % ("mem_device", "mem_device"))
    assert found.tolist() == list(range(63, -1, -1))
    with pytest.raises(Misplayed, match=r"race: thread 0 of group 0 reads buffer 0, .* thread 63"):
        tried(play, "metal", body % ("mem_threadgroup", "mem_device"))


@dialects
def test_a_barrier_of_a_simd_group_is_for_its_threads_alone(play, dialect):
    shared, barrier = {
        "metal": ("threadgroup", "simdgroup_barrier(mem_flags::mem_threadgroup);"),
        "cuda": ("__shared__", "__syncwarp();"),
    }[dialect]
    body = f"{shared} float part[64]; part[t] = t; {barrier} out[t] = part[t ^ %d];"
    assert tried(play, dialect, body % 31).tolist() == [t ^ 31 for t in range(64)]
    with pytest.raises(Misplayed, match="unwritten: thread 0 of group 0"):
        tried(play, dialect, body % 32)
    with pytest.raises(Misplayed, match="unwritten: thread 0 of group 0"):
        tried(play, dialect, body.replace(barrier, "") % 31)


@dialects
def test_a_barrier_before_the_memory_is_used_again_is_missed(play, dialect):
    """What is read was written before a barrier; what is written next is not read before one."""
    shared = {"metal": "threadgroup", "cuda": "__shared__"}[dialect]
    body = f"{shared} float part[64]; for (int i = 0; i < 2; i++) {{ part[t] = i + t; "
    body += f"{BARRIER[dialect]} out[t] += part[63 - t]; %s }}"
    expected = [2.0 * (63 - t) + 1 for t in range(64)]
    assert tried(play, dialect, body % BARRIER[dialect]).tolist() == expected
    with pytest.raises(
        Misplayed, match=r"race: thread 32 of group 0 reads shared memory, .* thread 31"
    ):
        tried(play, dialect, body % "")


@dialects
@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("columns + i]", "columns + i + 1]", "outside: .* reads outside of buffer 1, at byte 1212"),
        ("part[64]", "part[63]", "bounds: thread 63"),
        ("part[t] = mine", "if (t) part[t] = mine", "unwritten: thread 0 of group 0"),
        ("if (t == 0) out", "out", "race: thread 1 of group 0 reads shared memory, at byte 0"),
        ("if (t == 0) out", "if (t == 0) ((float*)x)", "read only: thread 0"),
    ],
)
def test_a_mistake_is_found(play, dialect, old, new, message):
    new = new.replace("(float*)x", "(device float*)x") if dialect == "metal" else new
    with pytest.raises(Misplayed, match=message):
        total(play, dialect, old, new)


@dialects
def test_a_wrong_stride_gives_wrong_numbers(play, dialect):
    assert total(play, dialect, "+= 64", "+= 32")[0] > 5050


@dialects
def test_groups_that_write_one_place_are_a_race(play, dialect):
    group = {"metal": "gid.x", "cuda": "blockIdx.x"}[dialect]
    with pytest.raises(Misplayed, match=r"race: thread 0 of group 1 writes buffer 0, .* group 0"):
        total(play, dialect, f"out[{group}]", "out[0]")


@dialects
def test_a_barrier_that_some_threads_do_not_reach_is_found(play, dialect):
    with pytest.raises(Misplayed, match=r"parted: thread 0 .* at line .*, thread 63 .* its end"):
        tried(play, dialect, f"if (t < 63) {BARRIER[dialect]}")


@dialects
def test_a_vector_at_an_odd_place_is_found(play, dialect):
    body = {
        "metal": "((device float4*)(out + %d))[t] = float4(t);",
        "cuda": "float x = t; ((float4*)(out + %d))[t] = make_float4(x, x, x, x);",
    }[dialect]
    assert tried(play, dialect, body % 4, threads=8)[:12].tolist() == [0] * 8 + [1] * 4
    with pytest.raises(Misplayed, match="misaligned: thread 0"):
        tried(play, dialect, body % 1, threads=8)


SHUFFLES = {
    "simd_shuffle_xor(x, 1)": lambda t: t ^ 1,
    "simd_shuffle_down(x, 3)": lambda t: t + 3 if t % 32 < 29 else t,
    "simd_shuffle_up(x, 3)": lambda t: t - 3 if t % 32 > 2 else t,
    "simd_shuffle(x, 5)": lambda t: t // 32 * 32 + 5,
    "simd_sum(x)": lambda t: 496 + t // 32 * 1024,
    "simd_max(x)": lambda t: t // 32 * 32 + 31,
    "__shfl_xor_sync(0xffffffff, x, 1)": lambda t: t ^ 1,
    "__shfl_down_sync(0xffffffff, x, 3)": lambda t: t + 3 if t % 32 < 29 else t,
    "__shfl_up_sync(0xffffffff, x, 3, 8)": lambda t: t - 3 if t % 8 > 2 else t,
    "__shfl_sync(0xffffffff, x, 5)": lambda t: t // 32 * 32 + 5,
}


@pytest.mark.parametrize("call", SHUFFLES)
def test_lanes_read_what_others_hold(play, call):
    """Of two SIMD groups, each its own. Twice: what a lane brings must last until all have it."""
    dialect = "metal" if call.startswith("simd") else "cuda"
    body = f"float x = t; float once = {call}; x = once; out[t] = {call} * 1000 + once;"
    found = tried(play, dialect, body)
    once = [SHUFFLES[call](t) for t in range(64)]
    if "sum" in call or "max" in call:
        twice = [32 * one if "sum" in call else one for one in once]
    else:
        twice = [once[SHUFFLES[call](t)] for t in range(64)]
    expected = [1000 * b + a for a, b in zip(once, twice, strict=True)]
    assert found.tolist() == np.array(expected, np.float32).tolist()


def test_a_lane_that_is_not_there_is_found(play):
    assert tried(play, "metal", "out[t] = simd_sum(float(t));", threads=5)[:5].tolist() == [10] * 5
    with pytest.raises(Misplayed, match="lane: thread 4"):
        tried(play, "metal", "out[t] = simd_shuffle_down(float(t), 1);", threads=5)
    with pytest.raises(Misplayed, match="lane: thread 0"):
        tried(play, "cuda", "out[t] = __shfl_sync(0xffff, float(t), 1);", threads=32)


def test_what_depends_on_the_order_of_threads_is_found(play):
    """By a write that is too wide for the player to see."""
    body = "typedef float wide __attribute__((ext_vector_type(8))); *(device wide*)out = (wide)%s;"
    assert tried(play, "metal", body % "2.0f")[:9].tolist() == [2] * 8 + [0]
    with pytest.raises(Misplayed, match="order: buffer 0"):
        tried(play, "metal", body % "float(t)")


def test_simdgroup_matrices_multiply(play):
    body = "simdgroup_float8x8 a, b, c(0); simdgroup_load(a, out); simdgroup_load(b, out + 64, 8); "
    body += "simdgroup_multiply_accumulate(c, a, b, c); simdgroup_store(c, out + 128);"
    rng = np.random.default_rng(0)
    given = rng.integers(-9, 9, 192).astype(np.float32)
    source = f"{USING_METAL}kernel void tried(device float* out) {{ {body} }}"
    (found,) = play("metal", source, given, threads=32)
    a, b, c = found.reshape(3, 8, 8)
    assert (c == a @ b).all()
    assert c.any()


def test_simdgroup_matrices_are_filled_or_diagonal_and_turned(play):
    body = "simdgroup_float8x8 a(2), b = make_filled_simdgroup_matrix<float, 8>(3), c; "
    body += "simdgroup_store(a, out); simdgroup_store(b, out + 64); "
    body += "simdgroup_load(c, out + 128, 8, ulong2(0, 0), true); simdgroup_store(c, out + 192); "
    body += "simdgroup_store(c, out + 256, 8, ulong2(0, 0), true);"
    given = np.arange(5 * 64, dtype=np.float32)
    source = f"{USING_METAL}kernel void tried(device float* out) {{ {body} }}"
    (found,) = play("metal", source, given, threads=32)
    diagonal, filled, whole, turned, back = found.reshape(5, 8, 8)
    assert (diagonal == 2 * np.eye(8)).all()
    assert (filled == 3).all()
    assert (turned == whole.T).all()
    assert (back == whole).all()


# The same registers in whole numbers and in floats; halves, and the upper halves of floats.
@pytest.mark.parametrize(
    ("kind", "register", "number", "as_float"),
    [("f16", "r", "int", "__int_as_float"), ("bf16", "f", "float", "")],
)
def test_tensor_cores_of_cuda_multiply(play, kind, register, number, as_float):
    """Whole numbers, where the PTX ISA puts them: a (16, 16), b (16, 8) by columns, d (16, 8)."""
    source = """\
extern "C" __global__ void tried(float* d, const short* a, const short* b) {
  int g = threadIdx.x / 4, t = threadIdx.x % 4;
  const int *as = (const int*)a, *bs = (const int*)b;
  int x[4] = {as[g * 8 + t], as[(g + 8) * 8 + t], as[g * 8 + t + 4], as[(g + 8) * 8 + t + 4]};
  int y[2] = {bs[g * 8 + t], bs[g * 8 + t + 4]};
  NUMBER z[4] = {};
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.KIND.KIND.f32"
      "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
      : "+REGISTER"(z[0]), "+REGISTER"(z[1]), "+REGISTER"(z[2]), "+REGISTER"(z[3])
      : "r"(x[0]), "r"(x[1]), "r"(x[2]), "r"(x[3]), "r"(y[0]), "r"(y[1]));
  for (int i = 0; i < 4; i++) d[(g + i / 2 * 8) * 8 + t * 2 + i % 2] = AS_FLOAT(z[i]);
}"""
    told = {"KIND": kind, "REGISTER": register, "NUMBER": number, "AS_FLOAT": as_float}
    for word, meaning in told.items():
        source = source.replace(word, meaning)
    rng = np.random.default_rng(1)
    a, b = (rng.integers(-9, 9, size).astype(np.float32) for size in ((16, 16), (8, 16)))
    upper = kind == "bf16"
    given = [
        (one.view(np.uint32) >> 16).astype(np.uint16) if upper else one.astype(np.float16)
        for one in (a, b)
    ]
    found = play("cuda", source, np.full((16, 8), np.nan, np.float32), *given, threads=32)[0]
    assert (found == a @ b.T).all()


def test_a_kernel_that_is_no_program_is_refused(player):
    with pytest.raises(ValueError, match="use of undeclared identifier 'y'"):
        player.cuda('extern "C" __global__ void tried(float* out) { out[0] = y; }')
    with pytest.raises(ValueError, match="stack frame size"):
        player.cuda(
            'extern "C" __global__ void tried(float* out, int n) { float held[9999];'
            "for (int i = 0; i < n; i++) held[out[i] > 0 ? i : 0] = out[n - i];"
            "for (int i = 0; i < n; i++) out[i] = held[i]; }"
        )
    with pytest.raises(ValueError, match=r"the player has no instruction 'ldmatrix\.sync"):
        player.cuda(
            'extern "C" __global__ void tried(int* out) { asm("ldmatrix.sync;" : "=r"(*out)); }'
        )
