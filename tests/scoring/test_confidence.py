"""Scores of how sure the model was: by hand and against NumPy; as scores, and as weights."""

import math

import numpy as np
import pytest
from fake_plugins import Site, open_site

import edifice_tt as et
from edifice_tt.contract.errors import EdificeError, PluginError, UnknownNameError
from edifice_tt.contract.registry import scorer as record_of
from edifice_tt.scoring import confidence
from edifice_tt.testing import check_scorer

site = pytest.fixture(open_site, name="site")
NAMES = ("entropy", "self_certainty", "self_certainty_weight", "deepconf", "deepconf_weight")
# Groups of two: 3 5 7 | 9 2 | 8; the fourth is shorter than a group.
ROWS = [[2.0, 4.0, 6.0, 8.0], [9.0, 9.0, 1.0, 3.0], [8.0, 8.0, 8.0], [5.0]]


def pool_of(rows, reads="deepconf", answers="abbb"):
    return et.Pool(
        "q",
        tuple(
            et.Candidate(
                *(i, answer, (7,) * len(row), tuple(-x for x in row)),
                answer=answer,
                correct=answer == "b",
                token_confidences={reads: tuple(row)},
            )
            for i, (answer, row) in enumerate(zip(answers, rows, strict=True))
        ),
    )


def scores(name, rows=ROWS, reads=None):
    pool = et.score(None, pool_of(rows, reads or record_of(name).reads), name)
    return [candidate.scores[name] for candidate in pool]


# --- the numbers


def test_perplexity_and_entropy_are_exponentials_of_means():
    rows = [[math.log(2), math.log(8)], [0.0, 0.0, 0.0], [math.log(10)], [900.0]]
    for name in ("perplexity", "entropy"):
        assert scores(name, rows, "entropy") == pytest.approx([0.25, 1.0, 0.1, 0.0], rel=1e-14)


def test_self_certainty_is_the_mean_over_the_tokens():
    assert scores("self_certainty") == [5.0, 5.5, 8.0, 5.0]


@pytest.mark.parametrize(
    ("part", "expected"),
    [("lowest", [3.0, 2.0, 8.0, 5.0]), ("tail", [7.0, 2.0, 8.0, 5.0]), ("bottom", [3, 2, 8, 5])],
)
def test_deepconf_by_hand(part, expected):
    assert scores(f"deepconf:part={part}:window=2") == expected


def test_an_answer_shorter_than_the_window_is_one_group():
    for part in confidence.PARTS:
        assert scores(f"deepconf:part={part}") == [5.0, 5.5, 8.0, 5.0]
        assert scores(f"deepconf:part={part}:window=4")[0] == 5.0
    assert scores("deepconf:window=3") == [4.0, 13 / 3, 8.0, 5.0]


@pytest.mark.parametrize("window", [1, 2, 7, 53])
@pytest.mark.parametrize("length", [1, 6, 7, 8, 29, 30, 31, 199])
def test_deepconf_is_its_definition(window, length):
    """The lowest tenth is of 29 groups two, of 30 three; of fewer than twenty it is one."""
    row = np.random.default_rng(length).uniform(0, 20, size=length)
    starts = range(max(1, length - window + 1))
    groups = sorted(float(np.mean(row[s : s + window])) for s in starts)
    lowest = groups[: max(1, int(0.1 * len(groups)))]
    expected = {
        "lowest": groups[0],
        "tail": float(np.mean(row[-window:])),
        "bottom": float(np.mean(lowest)),
    }
    for part, value in expected.items():
        (found,) = confidence.deepconf(part, window)([row.tolist()])
        assert found == pytest.approx(value, rel=1e-13), part


def test_weights_are_in_proportion_and_end_at_one():
    """2^-149 is the smallest float32, so no probability gives more than 149 ln 2."""
    most = 149 * math.log(2)
    for name in ("self_certainty", "deepconf"):
        assert scores(f"{name}_weight") == pytest.approx([x / most for x in scores(name)])
        assert scores(f"{name}_weight", [[most], [2 * most], [0.0], [1.0]])[:3] == [1.0, 1.0, 0.0]
    assert scores("deepconf_weight:part=tail:window=2")[0] == pytest.approx(7.0 / most)


# --- as scores and as weights


@pytest.mark.parametrize("name", ["perplexity", *NAMES])
def test_a_scorer_of_confidence_keeps_the_contract(name):
    check_scorer(name)


@pytest.mark.parametrize("part", confidence.PARTS)
def test_a_scorer_with_options_keeps_the_contract(part):
    check_scorer(f"deepconf:part={part}:window=3", reads="deepconf")


def test_ranges_say_which_scores_can_be_added():
    ranges = {name: record_of(name).range for name in ("perplexity", *NAMES)}
    unbounded = {name for name, declared in ranges.items() if declared == "unbounded"}
    assert unbounded == {"self_certainty", "deepconf"}
    assert set(ranges.values()) == {"unbounded", "probability"}


def test_confidence_chooses_and_votes_and_is_measured():
    pool = pool_of(ROWS)
    for name in ("deepconf:window=2", "deepconf_weight:window=2", "perplexity"):
        pool = et.score(None, pool, name)
    assert et.select(pool, scorer="deepconf:window=2").index == 2
    vote = et.select(pool, "weighted", scorer="deepconf_weight:window=2")
    most = 149 * math.log(2)
    assert vote.tally == pytest.approx({"a": 3 / most, "b": (2 + 8 + 5) / most})
    with pytest.raises(
        ValueError, match="'deepconf:window=2' declares range='unbounded'; use rule"
    ):
        et.select(pool, "weighted", scorer="deepconf:window=2")
    curve = et.scaling_curve([pool], ["best_of_n", "weighted"], (1, 4), bootstrap=2)
    assert [(one.rule, one.scorer) for one in curve.rules] == [
        ("best_of_n", "deepconf:window=2"),
        ("best_of_n", "deepconf_weight:window=2"),
        ("best_of_n", "perplexity"),
        ("weighted", "deepconf_weight:window=2"),
        ("weighted", "perplexity"),
    ]


# --- what is missing or wrong


def test_a_pool_without_what_a_scorer_reads_says_what_it_holds_and_what_to_do():
    with pytest.raises(EdificeError) as caught:
        et.score(None, pool_of(ROWS, "entropy"), "deepconf:part=tail")
    assert str(caught.value) == (
        "scorer 'deepconf:part=tail' reads the deepconf of each token, which this pool does not "
        "hold; it holds entropy; sample with confidence=['deepconf'] (--confidence deepconf)"
    )
    with pytest.raises(EdificeError, match="it holds no confidence; sample with"):
        et.score(None, et.Pool("q", (et.Candidate(0, "a"),)), "self_certainty")


@pytest.mark.parametrize(
    ("name", "error", "reason"),
    [
        (
            "deepconf:windows=3",
            UnknownNameError,
            "unknown option of scorer deepconf 'windows'; did",
        ),
        ("deepconf:window=x", ValueError, "window=x must be a whole number"),
        ("deepconf:window=0", ValueError, "window=0"),
        ("deepconf:part=middle", ValueError, "part='middle' must be one of lowest, tail, bottom"),
        ("deepconf:tail", ValueError, "expected NAME:OPTION=VALUE"),
        ("deepconf:", ValueError, "expected NAME:OPTION=VALUE"),
        ("deepconf:window=2:window=3", ValueError, "each option once"),
        ("entropy:window=2", UnknownNameError, "unknown option of scorer entropy 'window'"),
        ("linear:seed=2", UnknownNameError, "unknown option of scorer linear 'seed'"),
        ("deepcomf:window=2", UnknownNameError, "unknown scorer 'deepcomf:window=2'"),
    ],
)
def test_an_option_that_cannot_be_is_refused_before_anything_is_read(name, error, reason):
    with pytest.raises(error, match=reason):
        record_of(name)


PLUGIN = """
import edifice_tt

def doubtful(least: float = 0.5, broken: int = 0):
    assert not broken
    return lambda rows: [float(sum(x > least for x in row)) for row in rows]

@edifice_tt.hookimpl
def register_scorers(register):
    register("doubtful", doubtful, reads="entropy")
"""


def test_a_plugin_s_scorer_reads_confidence_and_has_options(site: Site):
    site.install("doubts", PLUGIN)
    assert scores("doubtful:least=4.5") == [2.0, 2.0, 3.0, 1.0]
    assert scores("doubtful") == [4.0, 4.0, 3.0, 1.0]
    check_scorer("doubtful:least=2")
    with pytest.raises(PluginError, match=r"scorer 'doubtful:broken=1' of doubts .* failed"):
        record_of("doubtful:broken=1")
