"""What a person sees of records: one line in a session, an escaped table in a notebook."""

import re
from dataclasses import is_dataclass, replace

import numpy as np

import edifice_tt as et
from edifice_tt.contract import shown
from edifice_tt.study.quality import assess_scorer
from edifice_tt.testing import small_pool

EVIL = "<script>alert('1')</script>\n&amp;"
VERIFIER = et.Verifier(
    *("v", "mlp", {}, 3, 4, "f00d", None, np.arange(4000, dtype=np.float32)),
    np.ones(4000, np.float32),
    trained_on=frozenset({"a", "b"}),
    figures={"ece": 0.125},
)


def pools(n=5):
    texts = [f"{EVIL}{i}" for i in range(n)]
    candidates = (
        et.Candidate(
            *(i, text, tuple(range(700)), tuple([-1.0] * 700), "eos"),
            answer=str(i % 3),
            correct=i % 3 == 1,
            scores={"judge": i / n},
        )
        for i, text in enumerate(texts)
    )
    return et.Pool("p", tuple(candidates), {"n": n + 2}, EVIL, "1", {"judge": "probability"})


def found():
    method = et.make_search("adaptive", n=5)
    return et.run_search(method, lambda ask: [et.Row(i, EVIL, 5, True, "7") for i in ask.rows])


def records(tiny_lm):
    pool = pools()
    labels = [[c.correct for c in pool]]
    quality = assess_scorer("judge", [[c.scores["judge"] for c in pool]], labels)
    whole = replace(pool, settings={})
    yield from (pool, pool[1], et.select(whole, "majority"), tiny_lm, tiny_lm.tokenizer)
    yield et.build("test_time_compute", embed_dim=4, hidden_size=8, num_layers=1)
    yield et.scaling_curve([whole], bootstrap=7)
    yield et.replay([whole], "adaptive", bootstrap=7)
    yield from (VERIFIER, et.Fit(VERIFIER, (), 7, 11, "patience", quality, (pool,)), quality)
    yield from (found(), found().rows[0], et.Problem(EVIL * 99, EVIL, EVIL))


def test_every_record_is_one_short_line_that_names_its_type(tiny_lm):
    for record in records(tiny_lm):
        text = repr(record)
        assert re.fullmatch(rf"<{type(record).__name__} [^\n]+>", text)
        assert len(text) < 200


def test_the_lines_say_what_a_person_wants_to_know(tiny_lm):
    pool = replace(pools(), problem="p1")
    assert repr(pool) == ("<Pool 'p1': 5 candidates, 2 right, 3 wrong, 2 missing; scored by judge>")
    assert repr(et.Candidate(3, "It is\n42.", (1, 2), finish_reason="eos", correct=True)) == (
        "<Candidate 3: 'It is 42.', eos, 2 tokens, right>"
    )
    chat = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "2 + 2?"}]
    assert repr(et.Problem(chat, "p1", "4")) == "<Problem 'p1': '2 + 2?', gold '4'>"
    assert repr(et.Row(3, "a", 7, True, "b")) == "<Row 3: 'a', 7 tokens, ended, answer 'b'>"
    choice = et.select(small_pool(), "majority", answer="number")
    assert repr(choice).endswith("8: 2, 17: 1, 9: 1; 2 abstained>")
    assert repr(tiny_lm) == (
        "<CausalLM tiny: 19,008 weights, 2 layers of 24, head linear, float32 on CPU>"
    )
    assert repr(VERIFIER) == (
        "<Verifier 'v': mlp at layer 3 of the model f00d, trained on 2 problems>"
    )


def test_a_table_escapes_what_a_model_wrote(tiny_lm):
    for record in records(tiny_lm):
        page = getattr(record, "_repr_html_", lambda: "")()
        assert "<script>" not in page
        assert "alert('1')" not in page
    assert "&lt;script&gt;alert(&#x27;1&#x27;)&lt;/script&gt; &amp;amp;" in pools()[0]._repr_html_()


def test_a_table_holds_its_first_rows_and_counts_the_others():
    for n, more in ((shown.ROWS, ""), (shown.ROWS + 3, "and 3 more")):
        page = pools(n)._repr_html_()
        assert page.count("<tr>") == 1 + min(n, shown.ROWS) + bool(more)
        assert ("more" in page) == bool(more)
        assert more in page


def test_a_table_cuts_long_texts():
    candidate = et.Candidate(0, "word " * 10_000)
    assert len(candidate._repr_html_()) < 2000


SMALL = {"Agreement", "Ask", "Books", "Filling", "Outcome", "Progress", "Until"}


def test_a_public_record_is_small_or_has_a_line_of_its_own():
    public = {name: getattr(et, name) for name in et.__all__}
    plain = {name for name, one in public.items() if is_dataclass(one) and not has_line(one)}
    assert plain == SMALL


def has_line(record):
    return issubclass(record, shown.Shown) or record is et.Tokenizer
