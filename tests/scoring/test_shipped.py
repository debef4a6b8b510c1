"""The verifiers that come with the package: by name, for their model, with a card that is true."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from fake_plugins import open_site

import edifice_tt as et
from edifice_tt import cli
from edifice_tt.contract.errors import EdificeError, PluginWarning, UnknownNameError
from edifice_tt.pools.tasks import find_task
from edifice_tt.scoring.shipped import SHIPPED
from edifice_tt.testing import check_scorer
from edifice_tt.weights import catalog

site = pytest.fixture(open_site, name="site")

PAGE = (Path(__file__).parents[2] / "docs" / "shipped-verifier.md").read_text()
each = pytest.mark.parametrize("shipped", SHIPPED, ids=lambda one: one.name)
QUESTION = "Q: What is the largest of 57, 12, 93, 34?\nA:"


def table(text):
    """The rows of the table that begins with `task`, by task."""
    start = text.index("| task |")
    lines = text[start : text.index("\n\n", start)].splitlines()
    return {cells[1]: cells for cells in ([c.strip() for c in line.split("|")] for line in lines)}


@each
def test_a_shipped_verifier_is_small_and_has_a_model_a_card_and_tasks(shipped):
    assert shipped.path.stat().st_size < 600_000
    assert shipped.model in {entry.name for entry in catalog.CATALOG}
    card = shipped.card.read_text()
    for heading in (
        "What it is",
        "Data",
        "Recipe",
        "What it gains",
        "What it is not for",
        "License",
    ):
        assert re.search(rf"^## {heading}", card, re.M), heading
    assert {find_task(name).name for name in shipped.helps_with} <= set(table(card))


@each
def test_it_is_said_to_help_where_both_of_its_differences_are_above_zero(shipped):
    rows = table(shipped.card.read_text())
    bold = {
        task for task, cells in rows.items() if all(cell.startswith("**+") for cell in cells[-3:-1])
    }
    assert bold == set(shipped.helps_with)


def test_its_page_shows_the_table_of_the_card():
    card = table(SHIPPED[0].card.read_text())
    assert table(PAGE) == card


@pytest.mark.slow
def test_it_reads_the_catalog_model_and_knows_a_right_answer_from_a_wrong_one(smollm2):
    """Of a question in no pool: its examples, and answers written by hand."""
    task = find_task("largest")
    texts = [" 57", " 12", " 93", " 34"]
    candidates = [
        et.Candidate(i, text, (*smollm2.tokenizer.encode(text), *smollm2.tokenizer.encode("\n")))
        for i, text in enumerate(texts)
    ]
    pool = et.Pool(task.examples + QUESTION, tuple(candidates))
    scored = et.score(smollm2, pool, "smollm2-verifier")
    assert et.select(scored, "best_of_n").text == " 93"
    assert scored.ranges == {"smollm2-verifier": "probability"}
    again = et.score(smollm2, pool, et.load_verifier("smollm2-verifier"))
    assert [c.scores for c in again] == [c.scores for c in scored]


def test_another_model_is_refused(tiny_lm):
    pool = et.Pool("q", (et.Candidate(0, "", (70,)),))
    with pytest.raises(EdificeError, match="hidden states of size 576, those of model 'tiny' have"):
        et.score(tiny_lm, pool, "smollm2-verifier")
    with pytest.raises(EdificeError, match="reads hidden states, so it needs its model"):
        et.score(None, pool, "smollm2-verifier")


@pytest.mark.slow
def test_best_of_uses_it_for_a_task_that_it_helps_with_and_says_so(capsys, smollm2_path):
    few = ["-n", "2", "--json"]
    assert cli.main(["best-of", QUESTION, "--task", "largest", *few]) == 0
    out, err = capsys.readouterr()
    pool = json.loads(out)["pool"]
    assert pool["prompt"] == find_task("largest").examples + QUESTION
    assert pool["settings"]["stop"] == ["\n"]
    assert all("smollm2-verifier" in candidate["scores"] for candidate in pool["candidates"])
    assert err.count("\n") == 1
    assert "scored by smollm2-verifier, which is for this task" in err
    assert cli.main(["best-of", QUESTION, "--task", "largest", "--scorer", "logprob", *few]) == 0
    out, err = capsys.readouterr()
    assert ("smollm2-verifier" in out, err) == (False, "")


@pytest.mark.slow
def test_other_questions_are_scored_by_log_probability(capsys, smollm2_path):
    assert cli.main(["best-of", "1 + 1 =", "--raw", "-n", "2", "--max-tokens", "2", "--json"]) == 0
    assert "smollm2-verifier" not in capsys.readouterr().out


def test_an_unknown_name_is_told_with_the_known_ones():
    with pytest.raises(UnknownNameError, match="smollm2-verifier"):
        et.score(None, et.Pool("q", (et.Candidate(0, "7"),)), "smollm2-verifer")


def test_no_plugin_takes_its_name(site):
    site.install_scorer("rival", "smollm2-verifier")
    with pytest.warns(PluginWarning, match=r"is registered by edifice-tt and claimed again by riv"):
        assert et.scorer("smollm2-verifier").owner == "edifice-tt"


@pytest.mark.slow
def test_it_is_a_scorer_like_any_other():
    record = et.scorer("smollm2-verifier")
    assert (record.reads, record.range, record.model) == ("states", "probability", "smollm2-135m")
    assert "smollm2-verifier" in et.list_scorers()
    assert set(et.list_verifiers()) >= {one.name for one in SHIPPED}
    check_scorer("smollm2-verifier", reads="states", range="probability")


def test_list_shows_it(capsys):
    assert cli.main(["list"]) == 0
    assert re.search(r"^smollm2-verifier +smollm2-135m: short", capsys.readouterr().out, re.M)


@pytest.mark.slow
def test_its_scores_do_not_depend_on_neighbours(smollm2):
    pool = et.Pool("1 + 1 =", tuple(et.Candidate(i, f" {i}") for i in range(3)))
    together = et.score(smollm2, pool, "smollm2-verifier")
    alone = et.score(smollm2, et.Pool("1 + 1 =", (pool.candidates[2],)), "smollm2-verifier")
    name = "smollm2-verifier"
    assert np.array_equal(alone.candidates[0].scores[name], together.candidates[2].scores[name])
