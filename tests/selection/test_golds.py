"""Right answers that no candidate can equal, and marks by one extractor beside votes by another."""

import warnings
from dataclasses import replace

import pytest

import edifice_tt as et
from edifice_tt.contract.errors import CheckpointError, PoolWarning
from edifice_tt.selection.grade import unread_golds


def pool(gold, *texts, problem="p"):
    return et.Pool("q", tuple(map(et.Candidate, range(len(texts)), texts)), {}, problem, gold)


@pytest.mark.parametrize(
    ("answer", "golds", "unread"),
    [
        ("number", ["7", "four", "so 8", "1, 2"], ["four", "1, 2"]),
        ("number", ["four", "five"], ["four", "five"]),  # none is read
        ("boxed", ["7", "x + 1"], []),  # an answer in a box, a gold answer without
        ("text", ["7", "four"], []),
        (r"regex:\b([A-D])\b", ["B", "Paris"], ["Paris"]),
        (r"regex:answer is (\w+)", ["B", "Paris"], []),
    ],
)
def test_a_gold_answer_of_another_kind_is_found(answer, golds, unread):
    named = dict(zip("abcd", golds, strict=False))
    assert list(unread_golds({**named, "none": None}, answer).values()) == unread


def test_grading_warns_of_a_gold_answer_in_which_nothing_is_found():
    with pytest.warns(PoolWarning, match="'number' finds nothing in 1 of 1 gold answer, as in 'f"):
        graded = et.grade(pool("four", "4"), "number")
    assert not graded[0].correct
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        et.grade(pool("4", "4"), "number")


def test_a_file_keeps_the_extractor_of_its_marks(tmp_path):
    path = tmp_path / "pool"
    et.write_pools(path, [et.grade(pool("7", "7"), "number"), pool("8", "8", problem="r")])
    assert [one.settings for one in et.read_pools(path)] == [{"graded": "number"}] * 2
    assert et.grade(next(et.read_pools(path)), "text").settings == {"graded": "text"}


def test_marks_of_two_extractors_are_not_merged(tmp_path):
    one, other, plain = tmp_path / "one", tmp_path / "other", tmp_path / "plain"
    et.write_pools(one, [et.grade(pool("7", "7"), "number")])
    et.write_pools(other, [et.grade(pool("8", "8", problem="r"), "text")])
    et.write_pools(plain, [pool("9", "9", problem="s")])
    with pytest.raises(CheckpointError, match=r"graded='number', .* has 'text'"):
        et.merge_pools([one, other], tmp_path / "new")
    et.merge_pools([plain, one], tmp_path / "new")
    assert {str(p.settings) for p in et.read_pools(tmp_path / "new")} == {"{'graded': 'number'}"}
    mixed = [et.grade(pool("7", "7"), "number"), et.grade(pool("8", "8", problem="r"), "text")]
    with pytest.raises(ValueError, match="graded='text', the ones before 'number'"):
        et.write_pools(tmp_path / "mixed", mixed)


def test_a_curve_says_by_which_extractor_its_candidates_were_marked():
    graded = [et.grade(pool("7", "7", "so 8"), "number")]
    curve = et.scaling_curve(graded, ["majority"], bootstrap=10)
    assert (curve.graded, curve.settings) == ("number", {"graded": "number"})
    sampled = [replace(graded[0], settings={"answer": "boxed"})]
    assert et.scaling_curve(sampled, ["majority"], bootstrap=10).graded == "boxed"
