"""Tasks: right answers by other means, splits that cannot mix, and the same problems every time."""

import re
from random import Random

import pytest
from fake_plugins import open_site

import edifice_tt as et
from edifice_tt.contract.errors import PluginError, UnknownNameError
from edifice_tt.pools.families import DAYS, WORDS
from edifice_tt.pools.tasks import SHOTS, find_task, held_out, make_problems
from edifice_tt.selection.answers import extractor

site = pytest.fixture(open_site, name="site")


def question(name, problem):
    """The part of the prompt behind the examples."""
    examples = find_task(name).examples
    assert problem.prompt.startswith(examples)
    return problem.prompt[len(examples) :]


def numbers(text):
    return [int(n) for n in re.findall(r"\d+", text)]


def listed(text, label):
    return re.search(rf"{label}: (.*)", text)[1].split(", ")


def days_by_walking(text):
    day, days = DAYS.index(text.split()[0]), numbers(text)[0]
    for _ in range(days):
        day = 0 if day == 6 else day + 1
    return DAYS[day]


# Each in another way than the family does it.
ANSWERS = {
    "add": lambda text: str(numbers(text)[0] + numbers(text)[1]),
    "common-word": lambda text: (set(listed(text, "A")) & set(listed(text, "B"))).pop(),
    "count-letter": lambda text: str(len(re.findall(r"\ba\b", text.split("\n")[0]))),
    "count-things": lambda text: str(listed(text, "Basket").count("apple")),
    "days-later": days_by_walking,
    "first-in-alphabet": lambda text: sorted(listed(text, "Words"))[0],
    "largest": lambda text: str(sorted(numbers(text))[-1]),
    "longest-word": lambda text: sorted(listed(text, "Words"), key=len)[-1],
    "removed-number": lambda text: str(
        sum(numbers(text.split("\n")[0])) - sum(numbers(text.split("\n")[1]))
    ),
    "repeated-word": lambda text: next(
        w for w in listed(text, "Words") if listed(text, "Words").count(w) == 2
    ),
    "smallest": lambda text: str(sorted(numbers(text))[0]),
}

NAMES = sorted(ANSWERS)


def test_there_are_at_least_eight_and_each_has_another_way_to_its_answer():
    assert [name for name in et.list_tasks() if find_task(name).owner == "edifice-tt"] == NAMES
    assert len(ANSWERS) >= 8
    assert len(set(WORDS)) == len(WORDS)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.first(3)
def test_gold_answers_are_right_and_their_extractor_finds_them(name):
    problems = make_problems(name, 60, seed=3)
    for problem in problems:
        assert problem.gold == ANSWERS[name](question(name, problem))
        assert extractor(find_task(name).answer)(f" {problem.gold}") == problem.gold
    assert len({problem.gold for problem in problems}) > 3


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.first(3)
def test_train_test_and_examples_share_no_question_whatever_the_seed(name):
    parts = {}
    for split in ("train", "test"):
        problems = [p for seed in (0, 1) for p in make_problems(name, 40, seed, split)]
        parts[split] = {question(name, problem) for problem in problems}
        assert all(problem.problem.startswith(f"{name}-{split}-") for problem in problems)
    assert not parts["train"] & parts["test"]
    examples = find_task(name).examples
    assert not [text for part in parts.values() for text in part if text in examples]
    apart = "\n\n" if "\n" in next(iter(parts["test"])) else "\n"
    assert examples.count(apart) == SHOTS


def test_fewer_problems_are_the_first_and_another_seed_draws_others():
    ten = make_problems("largest", 10)
    assert make_problems("largest", 4) == ten[:4]
    assert len({problem.problem for problem in ten}) == 10
    others = make_problems("largest", 10, seed=1)
    assert len({p.problem for p in ten} & {p.problem for p in others}) < 3


def test_a_question_has_one_id_whatever_the_seed():
    """Of some 160 questions, two draws of 100 share dozens."""
    ids = {}
    for seed in (0, 1):
        for problem in make_problems("days-later", 100, seed):
            assert ids.setdefault(problem.prompt, problem.problem) == problem.problem
    assert len(ids) == len(set(ids.values())) < 190


def test_ids_tell_what_is_for_measuring():
    ids = [p.problem for split in ("train", "test") for p in make_problems("add", 2, split=split)]
    assert held_out([*ids, "mine-test-1"]) == ids[2:]


def test_more_problems_than_there_are_is_a_mistake():
    with pytest.raises(ValueError, match=r"num=1000 is more than task 'days-later' has for test"):
        make_problems("days-later", 1000, split="test")


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        (("larges", 3), UnknownNameError, "did you mean 'largest'"),
        (("largest", 0), ValueError, "num=0 must be a whole number"),
        (("largest", 3, 0, "tset"), ValueError, "split='tset' must be one of train, test"),
    ],
)
def test_mistakes_are_named(arguments, error, words):
    with pytest.raises(error, match=words):
        make_problems(*arguments)


def test_a_family_depends_on_its_random_numbers_alone():
    task = find_task("repeated-word")
    assert task.make(Random(5)) == task.make(Random(5))


# --- tasks of plugins

DOUBLE = """
import edifice_tt

def double(rng):
    number = rng.randrange(10, 1000)
    return f"2 * {{number}} =", str(2 * number)

@edifice_tt.hookimpl
def register_tasks(register):
    register({arguments})
"""


def test_a_task_of_a_plugin_is_found_like_a_built_in(site):
    site.install("maths", DOUBLE.format(arguments="'double', double, summary='twice', stop=['.']"))
    assert "double" in et.list_tasks()
    task = find_task("double")
    assert (task.owner, task.sampling["stop"]) == ("maths 1.0", (".",))
    train, test = (make_problems("double", 30, split=split) for split in ("train", "test"))
    assert not {p.prompt for p in train} & {p.prompt for p in test}
    assert all(int(p.gold) == 2 * numbers(p.prompt)[-1] for p in train)
    assert held_out([p.problem for p in [*train, *test]]) == [p.problem for p in test]


def test_a_task_named_like_anothers_test_split_is_not_taken_for_it(site):
    site.install("maths", DOUBLE.format(arguments="'add-test', double"))
    problems = make_problems("add-test", 5)
    assert held_out([p.problem for p in problems]) == []


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("1 / 0", "task 'bad' of maths 1.0 failed: ZeroDivisionError: division by zero"),
        ("raise SystemExit", "task 'bad' of maths 1.0 failed: SystemExit"),
        ("return None", r"task 'bad' of maths 1.0 failed: TypeError"),
        ("return '2', 4", r"task 'bad' of maths 1.0 gave \('2', 4\), expected a question and its"),
        ("return 'ab'", "task 'bad' of maths 1.0 gave 'ab', expected a question and its answer"),
        ("return '2 =', ' '", r"gave \('2 =', ' '\), expected a question and its answer"),
    ],
)
def test_a_task_that_gives_no_question_is_one_error_that_names_its_owner(site, body, message):
    code = f"import edifice_tt\n\ndef make(rng):\n    {body}\n\n@edifice_tt.hookimpl\n"
    site.install("maths", code + "def register_tasks(register):\n    register('bad', make)\n")
    with pytest.raises(PluginError, match=message):
        make_problems("bad", 3)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ("'add', double", "task 'add' is registered by edifice-tt and claimed again by maths 1.0"),
        ("'double', 3", "task 'double': make=3 is not callable"),
        ("'double', double, max_tokens=0", "max_tokens=0 must be a whole number, at least 1"),
        (
            "'double', double, examples_seed=True",
            "examples_seed=True must be a whole number, at least 0",
        ),
        ("'double', double, stop='.'", "stop='.' must be a tuple of str; use ('\\n',)"),
        ("'double', double, stop=['']", "stop=[''] must be a tuple of str"),
    ],
)
def test_a_task_that_is_declared_wrongly_leaves_its_plugin_out(site, arguments, reason):
    site.install("maths", DOUBLE.format(arguments=arguments))
    with pytest.warns(et.PluginWarning) as warned:
        assert "double" not in et.list_tasks()
    assert reason in str(warned[0].message)
