"""Judges of every kind, against their formula in float64 on texts that are written out here."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest
from judge_models import TWO_LAYERS, Tiny, bpe, read

import edifice_tt as et
from edifice_tt.contract.errors import EdificeError
from edifice_tt.engine.decoder import Decoder
from edifice_tt.scoring.judges.forms import write_text
from edifice_tt.scoring.judges.load import describe_reward
from edifice_tt.testing import check_scorer

QUESTION = "What is 2 + 3?"
ANSWER = "Two and three\nmake 5.\n\nSo 5."
STEPS = ["Two and three\nmake 5.", "So 5."]
ASKED = "<s><h>user</h>\n\nWhat is 2 + 3?<e>"
SYSTEM = "Please reason step by step, and put your final answer within \\boxed{}."
CLASSIFIER = "ForSequenceClassification"


def logit(numbers):
    return numbers[:, 0]


def sigmoid(numbers):
    return 1 / (1 + np.exp(-numbers[:, 0]))


def second(numbers):
    return 1 / (1 + np.exp(numbers[:, 0] - numbers[:, 1]))


def words(good, bad):
    good, bad = (bpe().encode(word, add_special_tokens=False).ids[0] for word in (good, bad))
    return lambda numbers: 1 / (1 + np.exp(numbers[:, bad] - numbers[:, good]))


def case(text, score, tiny, *arguments, asked=None, reads=ANSWER, **options):
    return text, score, lambda: Tiny(tiny, *arguments, **options), asked or {}, reads


JUDGES = {
    "classifier": case(
        f"{ASKED}<h>assistant</h>\n\n{ANSWER}<e>¦", logit, CLASSIFIER, pad_token_id=272
    ),
    "classifier whose padding is its end": case(
        f"{ASKED}<h>assistant</h>\n\n{ANSWER}¦<e>", logit, CLASSIFIER, pad_token_id=268
    ),
    "classifier without padding": case(
        f"{ASKED}<h>assistant</h>\n\n{ANSWER}<e>¦", logit, CLASSIFIER, pad_token_id=None
    ),
    "classifier with a line behind the end, of an empty answer": case(
        f"<h>user\n{QUESTION}<e>\n<h>assistant\n<e>\n¦",
        *(logit, CLASSIFIER, "qwen2"),
        reads="",
    ),
    "classifier with two labels": case(
        f"{ASKED}<h>assistant</h>\n\n{ANSWER}<e>¦",
        *(second, CLASSIFIER),
        head={"score.weight": (2, 24)},
    ),
    "reward model": case(
        f"<h>system\n{SYSTEM}<e>\n<h>user\n{QUESTION}<e>\n<h>assistant\n{ANSWER}<e>\n¦",
        *(logit, "ForRewardModel", "qwen2"),
    ),
    "value head": case(
        f"{ASKED}<h>assistant</h>\n\n{ANSWER}<e>¦",
        *(logit, "ForCausalLM"),
        head={"v_head.summary.weight": (1, 24), "v_head.summary.bias": (1,)},
        pad_token_id=268,
    ),
    "value head of two layers": case(
        f"{ASKED}<h>assistant</h>\n\n{ANSWER}<e>¦", logit, "ForCausalLM", head=TWO_LAYERS
    ),
    "process reward model": case(
        f"<h>system\n{SYSTEM}<e>\n<h>user\n{QUESTION}<e>\n<h>assistant\n"
        f"{STEPS[0]}<extra_0>¦{STEPS[1]}<extra_0>¦<e>\n",
        *(second, "ForProcessRewardModel", "qwen2"),
    ),
    "token classifier with another separator": case(
        f"<s>{QUESTION}{STEPS[0]}<e>\n¦{STEPS[1]}<e>\n¦".replace("<e>", "es"),
        *(second, "ForTokenClassification"),
        asked={"marker": "es\n"},
    ),
    "value head of lines": case(
        f"{QUESTION}\nTwo and three\n¦make 5.\n¦\n¦So 5.\n¦", sigmoid, "ForPrmModel", "qwen2"
    ),
    "token classifier": case(
        f"<s>{QUESTION}{STEPS[0]}\n¦{STEPS[1]}\n¦", second, "ForTokenClassification"
    ),
    "plus and minus in turns": case(
        f"<s><h>user</h>\n\n{QUESTION} {STEPS[0]}<e><h>assistant</h>\n\n¦+<e>"
        f"<h>user</h>\n\n{STEPS[1]}<e><h>assistant</h>\n\n¦+<e>",
        *(words("+", "-"), "ForCausalLM"),
        asked={"kind": "plus_minus"},
    ),
    "step tags": case(
        f"<s>{QUESTION} {STEPS[0]} ки¦\n{STEPS[1]} ки¦",
        *(words(" +", " -"), "ForCausalLM"),
        asked={"kind": "step_tag"},
    ),
    "yes or no": case(
        f"<s><h>user</h>\n\nQ: {QUESTION}\nA: {ANSWER}\nRight?<e><h>assistant</h>\n\n¦",
        *(words("Yes", "No"), "ForCausalLM"),
        asked={"prompt": "Q: {question}\nA: {answer}\nRight?"},
    ),
    "asked in the next turn": case(
        f"{ASKED}<h>assistant</h>\n\n{ANSWER}<e><h>user</h>\n\nRight?<e><h>assistant</h>\n\n¦",
        *(words("Yes", "No"), "ForCausalLM"),
        asked={"kind": "follow_up", "prompt": "Right?"},
    ),
    "classifier that reads a text": case(
        f"<s>{QUESTION}<e>{ANSWER}¦",
        *(logit, CLASSIFIER),
        asked={"prompt": "<s>{question}<e>{answer}"},
    ),
}


@pytest.fixture(scope="module")
def load(tmp_path_factory):
    """A judge by its name above, loaded once."""
    known = {}

    def load(name):
        if name not in known:
            text, score, make, asked, _ = JUDGES[name]
            tiny = make()
            judge = et.load_reward(tiny.write(tmp_path_factory.mktemp("judge")), **asked)
            known[name] = tiny, judge, lambda: score(tiny.numbers(text)).tolist()
        return known[name]

    return load


@pytest.mark.parametrize("name", JUDGES)
@pytest.mark.first(3)
def test_a_judge_reads_the_text_that_its_kind_says(load, name):
    text, answer = JUDGES[name][0], JUDGES[name][4]
    _, judge, _ = load(name)
    asked = [{"role": "user", "content": QUESTION}]
    assert tuple(write_text(judge.layout, asked, answer)) == read(text)


QUICK = ("classifier whose padding is its end", "process reward model", "asked in the next turn")
SLOW = [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in JUDGES]


@pytest.mark.slow
@pytest.mark.parametrize("name", SLOW)
def test_a_judge_scores_what_its_formula_says(load, name):
    _, judge, expected = load(name)
    (scores,) = judge.rate(QUESTION, [JUDGES[name][4]])
    assert scores == pytest.approx(expected(), abs=2e-5)
    assert len(scores) == JUDGES[name][0].count("¦")


OTHERS = ["", "5", "A longer answer.\n\n" * 9, ANSWER, "4\n\n5\n\n6"]


@pytest.mark.parametrize(
    "name",
    [
        QUICK[0],
        QUICK[2],
        *(pytest.param(n, marks=pytest.mark.slow) for n in ("step tags", "value head of lines")),
    ],
)
def test_a_score_has_the_same_bits_alone_and_in_any_batch(load, name):
    _, judge, _ = load(name)
    alone = [judge.rate(QUESTION, [one])[0] for one in OTHERS]
    assert judge.rate(QUESTION, OTHERS) == alone
    assert judge.rate(QUESTION, OTHERS[::-1] * 4) == alone[::-1] * 4


@pytest.mark.slow
def test_the_question_is_read_once_for_all_its_answers(load, monkeypatch):
    _, judge, _ = load(QUICK[0])
    read, prompts = Decoder.read_prompt, []

    def counted(decoder, ids):
        prompts.append(len(ids))
        return read(decoder, ids)

    monkeypatch.setattr(Decoder, "read_prompt", counted)
    question = "Long " * 40 + QUESTION
    judge.rate(question, [f"{i} apples" for i in range(32)])
    asked = judge.layout.encode(judge.layout.render([{"role": "user", "content": question}], True))
    assert prompts == [len(asked)]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["classifier", "token classifier"])
def test_a_judge_keeps_the_contract_of_a_scorer(load, name):
    _, judge, _ = load(name)
    check_scorer(lambda: judge, "judge", range=judge.range, level=judge.level)
    check_scorer(lambda: judge, "text", range=judge.range, level=judge.level)


def pool_of(*texts, **more):
    return et.Pool("rendered", tuple(et.Candidate(i, t) for i, t in enumerate(texts)), **more)


@pytest.mark.slow
def test_a_pool_is_scored_by_its_messages_and_a_rule_knows_the_range(load):
    _, judge, expected = load("process reward model")
    pool = pool_of("4", ANSWER, messages=({"role": "user", "content": QUESTION},))
    scored = et.score(None, pool, judge, reduce="mean")
    steps = scored.candidates[1].step_scores[judge.name]
    assert steps == pytest.approx(expected(), abs=2e-5)
    assert scored.candidates[1].scores[judge.name] == pytest.approx(np.mean(expected()), abs=2e-5)
    assert scored.ranges[judge.name] == "probability"
    assert et.select(scored, "weighted", scorer=judge.name, answer="text")
    seen = []
    last = et.score(None, pool, judge, progress=seen.append)
    assert [(one.done, one.total) for one in seen] == [(0, 2), (1, 2), (2, 2)]
    assert last.candidates[1].scores[judge.name] == steps[-1]
    _, logits, _ = load(QUICK[0])
    with pytest.raises(ValueError, match="rule 'weighted' needs probabilities"):
        et.select(et.score(None, pool, logits), "weighted", scorer=logits.name, answer="text")


def test_a_pool_of_a_chat_without_its_messages_is_refused(load):
    _, judge, _ = load(QUICK[0])
    with pytest.raises(
        EdificeError, match=r"not the messages that a judge .* sample the pool again"
    ):
        et.score(None, pool_of("5", settings={"template": "chat"}), judge)
    raw = replace(pool_of(ANSWER, settings={"template": "raw"}), prompt=QUESTION)
    (expected,) = judge.rate(QUESTION, [ANSWER])[0]
    assert et.score(None, raw, judge).candidates[0].scores[judge.name] == expected


def test_what_a_user_wrote_is_no_control_token_and_no_step(load):
    special = "<e><extra_0> ки\n\n+"
    for name in ("process reward model", "step tags", "plus and minus in turns"):
        _, judge, _ = load(name)
        asked = [{"role": "user", "content": "<extra_0> ки <e>"}]
        text = write_text(judge.layout, asked, special)
        assert len(text.places) == 2
        plain = write_text(judge.layout, [{"role": "user", "content": ""}], "a\n\nb")
        ends = [bpe().token_to_id(name) for name in ("<e>", "<extra_0>")]
        assert [text.ids.count(i) for i in ends] == [plain.ids.count(i) for i in ends]


def test_a_chat_of_several_turns_is_read_whole_or_refused(load):
    turns = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
    turns.append({"role": "user", "content": QUESTION})
    _, judge, _ = load("classifier")
    turn = "<h>user</h>\n\nHi<e><h>assistant</h>\n\nHello<e>"
    expected = f"<s>{turn}{ASKED.removeprefix('<s>')}<h>assistant</h>\n\n5<e>¦"
    assert tuple(write_text(judge.layout, turns, "5")) == read(expected)
    _, judge, _ = load("value head of lines")
    with pytest.raises(EdificeError, match="reads one question, given a chat of 3 turns"):
        judge.rate(turns, ["5"])


def test_a_model_judges_its_own_answers(load):
    _, judge, expected = load("yes or no")
    own = et.load_reward(judge.lm, prompt=judge.layout.prompt, name="self")
    assert own.rate(QUESTION, [ANSWER])[0] == pytest.approx(expected(), abs=2e-5)
    swapped = et.load_reward(judge.lm, prompt=judge.layout.prompt, labels=("No", "Yes"))
    assert swapped.rate(QUESTION, [ANSWER])[0] == pytest.approx([1 - expected()[0]], abs=2e-5)
    assert swapped.fingerprint != own.fingerprint


@pytest.fixture
def asking(load):
    """A judge that asks in the next turn, the tokens that it reads, and what was sampled for it."""
    _, judge, _ = load("asked in the next turn")
    own = et.load_reward(judge.lm, kind="follow_up", prompt="Right?", name="own")
    asked = [{"role": "user", "content": QUESTION}]
    options = {"n": 4, "max_tokens": 9, "temperature": 1.5, "devices": ["CPU"]}
    return own, et.generate(judge.lm, asked, **options)


def behind(judge):
    return bpe().encode("<e><h>user</h>\n\nRight?<e><h>assistant</h>\n\n").ids


def test_a_model_is_asked_about_the_tokens_that_it_sampled(asking):
    judge, pool = asking
    yes, no = (judge.layout.token(word) for word in ("Yes", "No"))
    controls = {*judge.layout.tokenizer.control_tokens().values()}
    plain = [c for c in et.score(None, pool, judge) if controls.isdisjoint(c.token_ids)]
    assert any(tuple(judge.layout.plain(c.text)) != c.token_ids for c in plain)
    for candidate in plain:
        ids = [*read(ASKED + "<h>assistant</h>\n\n")[0], *candidate.token_ids, *behind(judge)]
        padded = ids + [0] * (256 - len(ids))  # one shape, and what follows a text changes nothing
        logits = judge.lm([padded]).logits.numpy()[0, len(ids) - 1]
        expected = 1 / (1 + np.exp(logits[no] - logits[yes]))
        assert candidate.scores["own"] == pytest.approx(expected, abs=2e-5)


def test_what_a_model_has_sampled_it_does_not_read_again_to_judge_it(asking, monkeypatch):
    judge, pool = asking
    controls = {*judge.layout.tokenizer.control_tokens().values()}
    plain = tuple(c for c in pool if controls.isdisjoint(c.token_ids))  # others are read as texts
    pool = replace(pool, candidates=plain)
    assert len(pool) > 2
    step, read = Decoder.step, []

    def counting(self, inputs, cache, wanted, *arguments, **options):
        read.append(len(wanted))
        return step(self, inputs, cache, wanted, *arguments, **options)

    monkeypatch.setattr(Decoder, "step", counting)
    scored = et.score(None, pool, judge)
    first, count = scored.candidates, sum(read)
    assert count - 2 <= len(pool) * (len(behind(judge)) + 1)  # two for two cores that begin
    et.score(None, replace(pool, messages=({"role": "user", "content": "Another?"},)), judge)
    et.generate(judge.lm, "Something else", n=4, max_tokens=9)
    assert et.score(None, pool, judge).candidates == first
    (alone,) = et.score(None, replace(pool, candidates=plain[1:2]), judge)
    assert alone == first[1]


@pytest.mark.parametrize(
    ("ids", "text"),
    [
        ((72, 33), "hB"),  # they spell something else, as those of a stop string do
        ((71, 270, 72), "hi"),  # a control token inside
        ((), "hi"),
    ],
)
def test_tokens_that_are_not_the_answer_are_not_read_in_its_place(asking, ids, text):
    judge, pool = asking
    candidate = et.Candidate(0, text, ids, (-1.0,) * len(ids))
    scored = et.score(None, replace(pool, candidates=(candidate,)), judge)
    ((expected,),) = judge.rate(pool.messages, [text])
    assert scored.candidates[0].scores["own"] == expected


def test_a_pool_of_another_model_is_judged_by_its_texts(asking):
    judge, pool = asking
    foreign = replace(pool, settings={**pool.settings, "fingerprint": "0"}, prompt="rendered")
    expected = [row[0] for row in judge.rate(pool.messages, [c.text for c in pool])]
    assert [c.scores["own"] for c in et.score(None, foreign, judge)] == expected


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "follow_up", "prompt": "Is {answer} right?"}, "without {question} and {answer}"),
        ({"kind": "follow_up", "prompt": " "}, "write what is asked there"),
        ({"kind": "follow_up"}, "needs prompt"),
        ({"prompt": "Is it right?"}, "name the kind follow_up"),
    ],
)
def test_what_is_asked_in_the_next_turn_stands_alone(asking, options, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        et.load_reward(asking[0].lm, **options)


def test_a_text_that_does_not_fit_the_judge_is_named(load):
    _, judge, _ = load(QUICK[0])
    with pytest.raises(
        EdificeError, match=r"candidate 1: the text has \d+ tokens, its context hol"
    ):
        judge.rate(QUESTION, ["5", "x" * 2100])


@pytest.mark.parametrize(
    ("question", "answers", "message"),
    [
        (QUESTION, "56", "answers='56' must be a list with a text for each candidate"),
        (QUESTION, 5, "answers=5 must be a list"),
        (QUESTION, ["5", 5], r"answers\[1\]=5 must be a text, or a list of its steps"),
        (QUESTION, [["5", None]], r"answers\[0\]=\['5', None\] must be a text"),
        (5, ["5"], "question=5 must be a text or a list of messages"),
        ([], ["5"], "there are no messages"),
        (["x"], ["5"], "'x' is no message"),
    ],
)
def test_what_is_no_question_and_no_list_of_answers_is_refused(load, question, answers, message):
    _, judge, _ = load("value head of lines")
    with pytest.raises(ValueError, match=message):
        judge(question, answers)


def test_a_score_that_is_no_number_is_refused(load):
    _, judge, _ = load(QUICK[0])
    (layer,) = judge.head.layers
    head = replace(judge.head, layers=(layer._replace(weight=layer.weight * np.inf),))
    with pytest.raises(EdificeError, match="candidate 0 a score that is not a finite number"):
        replace(judge, head=head).rate(QUESTION, ["5"])


def test_a_judge_tells_what_it_is(load, tmp_path):
    tiny, judge, _ = load("process reward model")
    about = describe_reward(tiny.write(tmp_path / "m"))
    assert {**judge.describe(), "name": "m"} == judge.describe() | about
    assert about["head"] == "24 -> 24 -> 2"
    assert (about["range"], about["level"], about["reduce"]) == ("probability", "step", "last")
    assert json.dumps(about)


def test_a_registered_judge_is_a_scorer_by_name(load, monkeypatch):
    from edifice_tt.contract import registry
    from edifice_tt.scoring.judges.load import open_judge

    _, judge, _ = load(QUICK[0])
    record = registry.Scorer("rm", lambda: judge, "judge", owner="pack")
    assert str(open_judge(record)) == "judge 'rm' of pack"
    wrong = registry.Scorer("rm", lambda: judge, "judge", "probability", owner="pack")
    with pytest.raises(EdificeError, match="'rm' of pack declares range='probability', but its"):
        open_judge(wrong)
    monkeypatch.setattr(registry, "scorer", lambda name: record)
    scored = et.score(None, replace(pool_of("5"), prompt=QUESTION), "rm")
    assert scored.candidates[0].scores["rm"] == judge(QUESTION, ["5"])[0]
