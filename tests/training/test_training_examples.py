"""Pools become numbers: folds, targets, weights and padding, on cases small enough to see."""

import numpy as np
import pytest

import edifice_tt as et
from edifice_tt.training.examples import batches, make_examples, make_folds, moments, shape_of
from edifice_tt.training.features import Features, Source, key_of

SOURCE = Source("f", "t", 1, "all", 3)


def pool(name, marks):
    made = (et.Candidate(i, "", (i + 1,) * (i + 1), correct=m) for i, m in enumerate(marks))
    return et.Pool(name, tuple(made), problem=name)


def features_of(pools):
    """Of candidate i the states i + 1, i + 1 times."""
    states = {
        key_of(p.prompt, c): np.full((len(c.token_ids), 3), c.index + 1, np.float16)
        for p in pools
        for c in p
    }
    return Features(SOURCE, states)


MIXED, RIGHT, WRONG = [True, False], [True, True], [False, False]


@pytest.mark.parametrize("seed", range(5))
def test_every_problem_is_held_out_once_and_every_fold_has_one_to_tell_apart(seed):
    kinds = [MIXED] * 5 + [RIGHT] * 4 + [WRONG] * 2
    folds = make_folds([pool(str(i), marks) for i, marks in enumerate(kinds)], 3, seed)
    assert sorted(i for fold in folds for i in fold) == list(range(11))
    assert max(map(len, folds)) - min(map(len, folds)) <= 1
    assert all(any(i < 5 for i in fold) for fold in folds)


def test_there_are_no_more_folds_than_mixed_problems():
    pools = [pool(str(i), MIXED if i < 2 else WRONG) for i in range(9)]
    assert len(make_folds(pools, 4, 0)) == 2
    with pytest.raises(ValueError, match="1 of 3 problems have right and wrong"):
        make_folds(pools[1:4], 4, 0)


def test_right_and_wrong_count_the_same_together_however_rare_one_is():
    """One right of ten, among them a problem with none: the weights of each kind sum to 5."""
    pools = [pool("a", [True] + [False] * 4), pool("b", [False] * 5)]
    examples = make_examples(pools, features_of(pools), None, balance=0.1)
    sums = {True: 0.0, False: 0.0}
    for example in examples:
        for weights, right in zip(example.weights, example.right, strict=True):
            sums[bool(right)] += float(weights.sum())
    assert sums == pytest.approx({True: 5, False: 5})
    (plain, _) = make_examples(pools, features_of(pools), None, balance=None)
    assert [w.tolist() for w in plain.weights[:3]] == [[1], [0, 1], [0, 0, 1]]
    assert [t.tolist() for t in plain.targets[:3]] == [[1], [0, 0], [0, 0, 0]]


def test_a_long_answer_counts_no_more_than_a_short_one():
    pools = [pool("a", [True, False, True])]

    def targets(candidate):
        return [None, 0.5, 1][: len(candidate.token_ids)] if candidate.index else [0.25]

    (example,) = make_examples(pools, features_of(pools), targets, balance=None)
    assert [w.tolist() for w in example.weights] == [[1], [0, 1], [0, 0.5, 0.5]]
    assert [t.tolist() for t in example.targets] == [[0.25], [0, 0.5], [0, 0.5, 1]]


def test_batches_are_padded_with_what_has_no_weight():
    pools = [pool("a", [True, False]), pool("b", [True, False, True])]
    examples = make_examples(pools, features_of(pools), None, None)
    assert shape_of(examples) == (3, 3)
    (states, targets, weights), (rest, _, none) = batches(examples * 2, 3, [1, 0, 1, 0], (3, 3))
    assert states.shape == (3, 3, 3, 3)
    assert states[0, :, :, 0].tolist() == [[1, 0, 0], [2, 2, 0], [3, 3, 3]]
    assert weights[1].tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, 0]]
    assert targets[2].tolist() == [[1, 0, 0], [0, 0, 0], [0, 0, 1]]
    assert rest[0, :, 0, 0].tolist() == [1, 2, 0]
    assert not rest[1:].any()
    assert not none[1:].any()


def test_moments_are_those_of_all_states_and_a_constant_stays_as_it_is():
    pools = [pool("a", [True, False])]
    features = features_of(pools)
    for states in features.states.values():
        states[:, 2] = 7
    mean, scale = moments(make_examples(pools, features, None, None))
    np.testing.assert_allclose(mean, [5 / 3, 5 / 3, 7], rtol=1e-6)
    np.testing.assert_allclose(scale, [1 / np.std([1, 2, 2])] * 2 + [1], rtol=1e-6)
