"""How missing candidates are shared out: whole problems, or parts of 8 to 16 rows."""

from types import SimpleNamespace

from hypothesis import given
from hypothesis import strategies as st

from edifice_tt.workers.chunks import MOST, chunks


def problem(name, length):
    return SimpleNamespace(problem=name, ids=[0] * length)


@given(st.lists(st.integers(1, 100), min_size=1, max_size=5))
def test_each_candidate_is_in_one_chunk_and_chunks_of_many_have_8_to_16_rows(counts):
    missing = [(problem(f"p{i}", i), range(n)) for i, n in enumerate(counts)]
    found = {one.problem: [] for one, _ in missing}
    for item in chunks(missing):
        rows = len(item.work.indices)
        whole = counts[int(item.problem[1:])]
        assert min(whole, MOST // 2) <= rows <= MOST
        found[item.problem] += item.work.indices
    assert found == {f"p{i}": [*range(n)] for i, n in enumerate(counts)}


def test_long_problems_come_first():
    missing = [(problem(name, length), [0]) for name, length in (("a", 3), ("b", 7), ("c", 5))]
    assert [item.problem for item in chunks(missing)] == ["b", "c", "a"]
