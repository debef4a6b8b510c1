"""The tree of a search: rows in front of their copies, and what became of each."""

from hypothesis import given
from hypothesis import strategies as st

import edifice_tt as et
from edifice_tt.pools.descent import tree_of


def pool(parents, row=None, kept=(), dropped=()):
    candidates = tuple(
        et.Candidate(i, f"t{i}", parent=parent, finish_reason="dropped" if i in dropped else "eos")
        for i, parent in enumerate(parents)
    )
    return et.Pool("q", candidates, search={"row": row, "kept": [*kept]})


def test_rows_stand_in_front_of_their_copies():
    found = tree_of(pool([None, None, 0, 2, 0, 1]))
    assert [(one.candidate.index, one.depth) for one in found] == [
        *((0, 0), (2, 1), (3, 2), (4, 1)),
        *((1, 0), (5, 1)),
    ]


def test_each_row_tells_what_became_of_it():
    found = tree_of(pool([None] * 4, row=2, kept=(1, 2), dropped=(3,)))
    assert [one.fate for one in found] == ["left", "kept", "chosen", "dropped"]


@given(st.lists(st.one_of(st.none(), st.integers(0, 12)), min_size=1, max_size=11))
def test_every_row_is_there_once_whoever_its_parent_is(parents):
    """A file of another program may name rows that are missing, or each other."""
    found = [one.candidate.index for one in tree_of(pool(parents))]
    assert sorted(found) == list(range(len(parents)))
