"""What every rule may rely on, and what is said when it cannot choose."""

import warnings
from dataclasses import replace

import pytest
from fake_plugins import Site, open_site

import edifice_tt as et
from edifice_tt.contract import registry
from edifice_tt.contract.errors import PluginError, PoolWarning, UnknownNameError
from edifice_tt.selection.select import check_options
from edifice_tt.selection.usable import check_range

site = pytest.fixture(open_site, name="site")

NAN, INF = float("nan"), float("inf")
RULES = """
import edifice_tt

@edifice_tt.hookimpl
def register_selectors(register):
    def first(candidates, scorer, k=0):
        given.append(scorer)
        return edifice_tt.Choice(candidates[0], "first", {{}})
    register("first", first{more})

given = []
"""


def scored(*values, scorer="s"):
    """Candidates 0, 1, ... with these scores; None for a candidate without one."""
    return tuple(
        et.Candidate(i, f"text {i}", scores={} if value is None else {scorer: value})
        for i, value in enumerate(values)
    )


def said(*texts):
    return tuple(et.Candidate(i, text) for i, text in enumerate(texts))


def error_of(kind, call, *arguments, **options):
    with pytest.raises(kind) as caught:
        call(*arguments, **options)
    assert type(caught.value) is kind
    return str(caught.value)


def test_best_of_n_is_the_rule_unless_told_otherwise():
    assert et.select(scored(1.0, 2.0)).rule == "best_of_n"


def test_a_pool_and_its_candidates_give_the_same_choice():
    pool = et.Pool("q", scored(1.0, 5.0, 2.0))
    assert et.select(pool) == et.select(pool.candidates) == et.select(list(pool))


@pytest.mark.parametrize("rule", ["best_of_n", "majority", "weighted", "pessimistic", "random"])
def test_a_rule_leaves_out_what_a_search_dropped(rule):
    """Its score may be missing, or the best."""
    first = et.Candidate(0, "8", finish_reason="dropped", scores={"s": 1.0})
    second = et.Candidate(1, "8", finish_reason="dropped")
    third = et.Candidate(2, "7", finish_reason="eos", scores={"s": 0.5})
    choice = et.select([first, second, third], rule)
    assert (choice.index, choice.abstained) == (2, 2)


def test_where_all_were_dropped_a_rule_chooses_among_them():
    rows = [replace(one, finish_reason="dropped") for one in scored(1.0, 2.0)]
    assert et.select(rows).index == 1


def test_a_dropped_row_votes_where_it_is_told_to():
    rows = [et.Candidate(i, "8", finish_reason="dropped") for i in (0, 1)]
    rows.append(et.Candidate(2, "7", finish_reason="eos"))
    assert et.select(rows, "majority", cut_off="vote").index == 0


def test_a_choice_as_a_dict_is_plain():
    assert et.select(scored(1.0, 2.0, None)).to_dict() == {
        "index": 1,
        "text": "text 1",
        "rule": "best_of_n",
        "tally": {"0": 1.0, "1": 2.0},
        "abstained": 1,
    }


# --- which scorer


def test_the_named_scorer_counts():
    candidates = (
        et.Candidate(0, "a", scores={"x": 1.0, "y": 0.0}),
        et.Candidate(1, "b", scores={"x": 0.0, "y": 1.0}),
    )
    for rule in ("best_of_n", "weighted", "weighted_logit", "pessimistic"):
        assert et.select(candidates, rule, scorer="x").index == 0
        assert et.select(candidates, rule, scorer="y").index == 1
        assert error_of(ValueError, et.select, candidates, rule) == (
            "say which scorer to use (scorer=..., --scorer); the candidates have scores of: x, y"
        )


def test_a_scorer_that_nobody_ran_is_an_error_with_the_nearest():
    for rule in ("best_of_n", "weighted"):
        message = error_of(
            UnknownNameError, et.select, scored(1.0, scorer="logprob"), rule, scorer="logprop"
        )
        assert message == (
            "unknown scorer in this pool 'logprop'; did you mean 'logprob'? Known: logprob"
        )


@pytest.mark.parametrize(("options", "of"), [({}, ""), ({"scorer": "prm"}, " of 'prm'")])
def test_a_pool_without_scores_says_how_to_get_some_in_both_worlds(options, of):
    for rule in ("best_of_n", "weighted"):
        assert error_of(ValueError, et.select, said("a", "b"), rule, **options) == (
            f"the candidates have no scores{of}; score them first: edifice_tt.score in Python, "
            "`edifice-tt score` on the command line"
        )


# --- scores that a rule cannot use


@pytest.mark.parametrize(
    ("rule", "declared", "message"),
    [
        (
            "weighted",
            "logit",
            "rule 'weighted' needs probabilities, but scorer 'prm' declares range='logit'; use "
            "rule weighted_logit, or calibrate the scorer",
        ),
        (
            "pessimistic",
            "logit",
            "rule 'pessimistic' needs probabilities, but scorer 'prm' declares range='logit'; use "
            "rule weighted_logit, or calibrate the scorer",
        ),
        (
            "weighted",
            "unbounded",
            "rule 'weighted' needs probabilities, but scorer 'prm' declares range='unbounded'; use "
            "rule best_of_n, which only compares scores, or majority",
        ),
        (
            "weighted_logit",
            "unbounded",
            "rule 'weighted_logit' needs logits, but scorer 'prm' declares range='unbounded'; use "
            "rule best_of_n, which only compares scores, or majority",
        ),
        (
            "weighted_logit",
            "probability",
            "rule 'weighted_logit' needs logits, but scorer 'prm' declares range='probability'; "
            "use rule weighted",
        ),
    ],
)
def test_a_declared_range_that_a_rule_cannot_use_is_refused(rule, declared, message):
    """Though every one of these scores could be a probability, and a logit."""
    pool = et.Pool("q", scored(0.25, 0.75, scorer="prm"), ranges={"prm": declared})
    assert error_of(ValueError, et.select, pool, rule) == message
    assert et.select(pool, "best_of_n").index == 1
    assert et.select(pool, "majority").index == 0


@pytest.mark.parametrize(
    ("rule", "declared"),
    [("weighted", "probability"), ("pessimistic", "probability"), ("weighted_logit", "logit")],
)
def test_the_declared_range_that_a_rule_needs_is_taken(rule, declared):
    pool = et.Pool("q", scored(0.25, 0.75, scorer="prm"), ranges={"prm": declared})
    assert et.select(pool, rule).index == 1


def test_without_a_pool_the_installed_scorer_declares():
    candidates = scored(-2.0, -1.0, scorer="logprob")
    for pool in (candidates, et.Pool("q", candidates)):
        assert "'logprob' declares range='unbounded'" in error_of(
            ValueError, et.select, pool, "weighted_logit"
        )
    assert et.select(scored(-2.0, -1.0, scorer="nobody"), "weighted_logit").index == 1


def test_the_pool_goes_before_the_installed_scorer():
    """Another version may have declared it otherwise when the pool was scored."""
    pool = et.Pool("q", scored(0.25, 0.5, scorer="logprob"), ranges={"logprob": "probability"})
    assert et.select(pool, "weighted").index == 1


@pytest.mark.parametrize("rule", ["weighted", "pessimistic"])
@pytest.mark.parametrize("value", [1.5, -0.25, NAN, INF])
def test_what_is_no_probability_is_refused_whatever_was_declared(rule, value):
    candidates = scored(0.5, 1.0, 0.0, value)[::-1]
    for ranges in ({}, {"s": "probability"}):
        message = error_of(ValueError, et.select, et.Pool("q", candidates, ranges=ranges), rule)
        assert message == (
            f"rule '{rule}' needs probabilities, but candidate 3 has {value} of 's', expected "
            "within 0 and 1; use rule best_of_n, which only compares scores, or majority"
        )


@pytest.mark.parametrize("value", [NAN, INF, -INF])
def test_what_is_no_logit_is_refused(value):
    assert error_of(ValueError, et.select, scored(0.5, value), "weighted_logit") == (
        f"rule 'weighted_logit' needs logits, but candidate 1 has {value} of 's', expected a "
        "finite number; use rule best_of_n, which only compares scores, or majority"
    )


@pytest.mark.parametrize("rule", ["weighted", "pessimistic"])
def test_a_missing_score_is_refused_where_scores_are_added(rule):
    assert error_of(ValueError, et.select, scored(0.5, None, 0.25)[::-1], rule) == (
        f"rule '{rule}' needs probabilities, but candidate 1 has no score of 's'; score all of the "
        "pool with 's' again"
    )


# --- rules of plugins


@pytest.mark.parametrize("more", ["", ", needs='probability'"])
def test_a_rule_of_a_plugin_is_refused_what_it_says_it_cannot_use(site: Site, more):
    site.install("firsts", RULES.format(more=more))
    pool = et.Pool("q", scored(0.25, 7.5, scorer="prm"), ranges={"prm": "logit"})
    if not more:
        assert et.select(pool, "first", scorer="prm").index == 0
        return
    assert error_of(ValueError, et.select, pool, "first") == (
        "rule 'first' needs probabilities, but scorer 'prm' declares range='logit'; use rule "
        "weighted_logit, or calibrate the scorer"
    )
    assert "candidate 1 has 7.5 of 'prm'" in error_of(
        ValueError, et.select, pool.candidates, "first"
    )


def test_a_rule_that_needs_scores_is_told_whose(site: Site):
    site.install("firsts", RULES.format(more=", needs='logit'"))
    assert et.select(scored(0.25, 7.5, scorer="prm"), "first").index == 0
    import firsts

    assert firsts.given == ["prm"]


def test_a_rule_that_fails_names_its_owner(site: Site):
    site.install("odd", RULES.replace("given.append(scorer)", "1 / 0").format(more=""))
    assert error_of(PluginError, et.select, said("x"), "first", scorer="s") == (
        "rule 'first' of odd 1.0 failed: ZeroDivisionError: division by zero (odd.py, line 7)"
    )


def test_a_rule_that_gives_no_choice_names_its_owner(site: Site):
    code = RULES.replace("given.append(scorer)", "return candidates[0]")
    site.install("odd", code.format(more=""))
    assert error_of(PluginError, et.select, said("x"), "first", scorer="s").startswith(
        "rule 'first' of odd 1.0 gave <Candidate 0: 'x'"
    )


# --- what goes wrong


def test_an_unknown_rule_names_the_nearest():
    with pytest.raises(UnknownNameError, match="did you mean 'majority'"):
        et.select(said("a"), "majorty")


def test_an_empty_pool_is_an_error():
    for empty in (et.Pool("q", ()), (), []):
        with pytest.raises(ValueError, match="nothing to choose from"):
            et.select(empty)


def test_two_candidates_with_one_index_are_an_error():
    """As when two pools are joined; their votes and scores could not be told apart."""
    joined = (*scored(1.0, 2.0, 3.0), *scored(4.0, 5.0)[1:])
    assert error_of(ValueError, et.select, joined) == (
        "two candidates have index 1; give each one of its own"
    )


@pytest.mark.parametrize(
    ("rule", "option", "message"),
    [
        (
            "best_of_n",
            "answer",
            "rule 'best_of_n' takes no option 'answer', only: scorer; leave it out, or "
            "use a rule that takes it: majority, pessimistic, weighted, weighted_logit",
        ),
        (
            "majority",
            "scorer",
            "rule 'majority' takes no option 'scorer', only: answer, cut_off; leave it out, or "
            "use a rule that takes it: best_of_n, pessimistic, weighted, weighted_logit",
        ),
        (
            "oracle",
            "seed",
            "rule 'oracle' takes no option 'seed', only: none; leave it out, or use a "
            "rule that takes it: random",
        ),
        (
            "majority",
            "answr",
            "unknown option of rule majority 'answr'; did you mean 'answer'? Known: answer, "
            "cut_off",
        ),
        ("random", "k", "unknown option of rule random 'k'; known: seed"),
    ],
)
def test_an_option_that_the_rule_does_not_take_is_an_error_that_says_so(
    monkeypatch, rule, option, message
):
    monkeypatch.setenv("EDIFICE_TT_PLUGINS", "")
    assert error_of(UnknownNameError, et.select, said("a"), rule, **{option: "x"}) == message
    assert error_of(UnknownNameError, check_options, rule, [option]) == message


def test_a_rule_that_takes_any_option_and_one_that_does_not_tell_are_asked(site: Site):
    site.install(
        "loose",
        "import edifice_tt\n\n@edifice_tt.hookimpl\ndef register_selectors(register):\n"
        "    register('any', lambda candidates, **options: edifice_tt.Choice(\n"
        "        candidates[0], 'any', options))\n"
        "    register('built_in_c', iter)\n",
    )
    assert et.select(said("a"), "any", k=7).tally == {"k": 7}
    check_options("built_in_c", ["k"])
    # And where such rules are installed, the others still say what they take.
    assert "did you mean 'answer'" in error_of(
        UnknownNameError, et.select, said("a"), "majority", answr="x"
    )


def test_a_rule_without_needs_takes_every_range():
    for declared in (None, *registry.RANGES):
        check_range(registry.selector("best_of_n"), "prm", declared)
    check_range(registry.selector("weighted"), "prm", None)


def test_a_pool_that_lacks_candidates_is_told_and_one_that_ctrl_c_ended_is_not():
    pool = et.Pool("q", (et.Candidate(0, "7"),), {"n": 3}, "p")
    with pytest.warns(PoolWarning, match="problem 'p' has 1 of 3 candidates; .*--resume"):
        assert et.select(pool, "majority").text == "7"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        et.select(replace(pool, interrupted=True), "majority")
        for settings in ({"n": 1}, {"n": True}, {"n": "3"}, {}):
            et.select(et.Pool("q", pool.candidates, settings, "p"), "majority")


@pytest.mark.parametrize(
    ("scorer", "told"),
    [
        ("logprob", "majority; scorer perplexity gives probabilities"),
        ("deepconf", "majority; scorer deepconf_weight gives probabilities"),
    ],
)
def test_a_rule_names_the_scorer_that_reads_the_same_and_fits(scorer, told):
    pool = et.Pool("q", (et.Candidate(0, "7", scores={scorer: -1.0}),))
    with pytest.raises(ValueError, match=f"{told}$"):
        et.select(pool, "weighted")
