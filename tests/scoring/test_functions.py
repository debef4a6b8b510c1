"""A function scores and chooses without a package around it."""

import pytest
from fake_plugins import Site, open_site

import edifice_tt as et
from edifice_tt.contract.errors import EdificeError, PluginError
from edifice_tt.testing import small_pool

site = pytest.fixture(open_site, name="site")

POOL = et.Pool("q", (et.Candidate(0, "a", (1,), (-1.0,)), et.Candidate(1, "bbb", (2,), (-0.5,))))


def length(prompt, completions):
    return [float(len(text)) for text in completions]


def values(pool):
    (name,) = pool.scorers
    return name, pool.ranges[name], [candidate.scores[name] for candidate in pool]


def test_a_function_scores_under_its_own_name():
    pool = et.score(None, POOL, length)
    assert values(pool) == ("length", "unbounded", [1.0, 3.0])
    assert et.select(pool, scorer="length").index == 1


def test_a_lambda_and_an_object_that_can_be_called_score_too():
    class Length:
        def __call__(self, prompt, completions):
            return length(prompt, completions)

    assert values(et.score(None, POOL, Length())) == ("Length", "unbounded", [1.0, 3.0])
    found = et.score(None, POOL, lambda prompt, completions: [0.5, 0.25], range="probability")
    assert values(found) == ("<lambda>", "probability", [0.5, 0.25])
    assert et.select(found, "weighted", answer="text").text == "a"


def test_a_lambda_has_the_name_that_it_is_given_and_two_are_not_mixed():
    def ones(prompt, completions):
        return [1.0] * len(completions)

    nameless = et.score(None, POOL, lambda prompt, completions: ones(prompt, completions))
    with pytest.raises(ValueError, match="the pool has scores of a lambda already"):
        et.score(None, nameless, lambda prompt, completions: length(prompt, completions))
    named = et.score(None, nameless, lambda prompt, texts: length(prompt, texts), name="words")
    assert named.scorers == ["<lambda>", "words"]
    (other,) = et.score_pools(None, [POOL], ones, name="other")
    assert other.scorers == ["other"]
    with pytest.raises(PluginError, match="scorer 'a:b': a name must have no ':'"):
        et.score(None, POOL, ones, name="a:b")
    with pytest.raises(ValueError, match="'logprob' has the name of a scorer of edifice-tt"):
        et.score(None, POOL, ones, name="logprob")
    with pytest.raises(ValueError, match="name declares a function; a str has its own"):
        et.score(None, POOL, "logprob", name="mine")


def test_a_function_that_is_written_anew_scores_anew():
    for value in (1.0, 2.0):

        def mine(prompt, completions, value=value):
            return [value for _ in completions]

        assert values(et.score(None, POOL, mine))[2] == [value, value]


def test_a_function_declares_what_a_registration_would():
    def steps(prompt, completions):
        return [[0.25, 0.75] for _ in completions]

    pool = et.score(None, POOL, steps, "min", level="step", range="probability")
    assert values(pool) == ("steps", "probability", [0.25, 0.25])

    def surest(token_logprobs):
        return [max(row) for row in token_logprobs]

    assert values(et.score(None, POOL, surest, reads="logprobs"))[2] == [-1.0, -0.5]


def test_what_is_wrong_with_a_function_is_one_error_that_names_it():
    def broken(prompt, completions):
        raise KeyError("key")

    with pytest.raises(
        PluginError,
        match=r"^scorer 'broken' failed: KeyError: 'key' \(test_functions\.py, line 84\)$",
    ):
        et.score(None, POOL, broken)
    with pytest.raises(PluginError, match=r"'length' gave 3.0 for candidate 1, but declares range"):
        et.score(None, POOL, length, range="probability")
    with pytest.raises(PluginError, match="scorer 'length': range='percent' is none of"):
        et.score(None, POOL, length, range="percent")
    with pytest.raises(ValueError, match="reads='hidden' is for registered scorers"):
        et.score(None, POOL, length, reads="hidden")
    with pytest.raises(ValueError, match="scorer=5 is neither a scorer's name nor a function"):
        et.score(None, POOL, 5)
    with pytest.raises(ValueError, match="range declares a function; a str has its own"):
        et.score(None, POOL, "logprob", range="probability")


def test_a_function_does_not_take_the_name_of_a_registered_scorer(site: Site):
    site.install_scorer("lengths", "length")
    with pytest.raises(ValueError, match=r"'length' has the name of a scorer of lengths 1.0; ren"):
        et.score(None, POOL, length)


def longest(candidates, least=0):
    best = max(candidates, key=lambda candidate: (len(candidate.text), -candidate.index))
    return et.Choice(best, "longest", {str(least): 1.0})


def test_a_function_chooses_and_has_options():
    choice = et.select(small_pool(), longest)
    assert len(choice.text) == max(len(one.text) for one in small_pool())
    assert et.select(small_pool(), longest, least=3).tally == {"3": 1.0}
    with pytest.raises(EdificeError, match="unknown option of rule longest 'most'"):
        et.select(small_pool(), longest, most=3)


def test_what_is_wrong_with_a_rule_is_one_error_that_names_it():
    def nobody(candidates):
        return None

    with pytest.raises(PluginError, match=r"^rule 'nobody' gave None, expected a Choice$"):
        et.select(small_pool(), nobody)
    with pytest.raises(EdificeError, match="unknown selector 5"):
        et.select(small_pool(), 5)


POOLS = [et.Pool("q", (et.Candidate(0, "a"),), problem=name) for name in "ab"]


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: et.score(POOLS[0], len), "the model comes first, given a Pool; give lm=None"),
        (lambda: et.score_pools(POOLS, POOLS, len), "the model comes first, given a list"),
        (
            lambda: et.score(None, POOLS, len),
            "must be one Pool; edifice_tt.score_pools.* scores several",
        ),
        (lambda: et.score(None, "pool.jsonl", len), "'pool.jsonl' must be one Pool; read its"),
        (
            lambda: et.score_pools(None, POOLS[0], len),
            "must be a list of Pools; put it into one",
        ),
        (lambda: et.grade(POOLS), "must be one Pool; grade each of several"),
        (lambda: et.select(POOLS), "must be a Candidate; give one pool at a time"),
    ],
)
def test_what_stands_in_a_wrong_place_is_told_with_the_right_one(call, words):
    with pytest.raises(ValueError, match=words):
        call()


@pytest.mark.parametrize(
    "given", [["0.5"], "7", b"7", {0.5: 1}, {0.5}, [b"1"]], ids=lambda given: repr(given)
)
def test_a_score_that_is_a_text_or_has_no_order_is_refused(given):
    with pytest.raises(
        PluginError, match=r"gave .*, expected one float per candidate \(TypeError:"
    ):
        et.score(None, POOLS[0], lambda prompt, completions: given)


@pytest.mark.parametrize("given", [[1], (0.5,), [True]])
def test_other_numbers_in_a_list_are_taken_as_they_are(given):
    (scored,) = et.score(None, POOLS[0], lambda prompt, completions: iter(given))
    assert [*scored.scores.values()] == [float(given[0])]
