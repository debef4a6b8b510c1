"""What a report shows of searches: a figure, a table, and each problem's tree."""

import json
import re

import pytest
from searched import TEXT, searched
from test_page import data_of, make_pools

import edifice_tt as et
from edifice_tt.study.report.page import render_report


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    pools = list(make_pools())
    curve = et.scaling_curve(pools, ("best_of_n", "majority"), bootstrap=20, pool="a.jsonl")
    found = searched(pools, tmp_path_factory.mktemp("searched") / "s.jsonl")
    return render_report(curve, pools, searches=[found]).decode(), found[0]


def test_a_search_stands_in_the_figure_beside_best_of_n_at_its_tokens(page):
    html, beside = page
    (figure,) = re.findall(r'<figure class="searched".*?</figure>', html, re.DOTALL)
    assert figure.count('class="ring"') == 2  # one in the wide chart, one in the narrow
    label = "rebase \N{MIDDLE DOT} judge \N{MIDDLE DOT} s.jsonl"
    assert f"{label}: 100.0%, " in figure
    assert "with 39 tokens" in figure
    assert f"best_of_n of the {beside.same.label}: {beside.same.accuracy:.1%}" in figure
    assert "majority, 33 tokens: " in figure  # three candidates of eleven
    assert beside.same.samples == 3.0  # all of them, which cost less


def test_the_difference_stands_in_a_table_and_all_of_it_in_the_data(page):
    html, beside = page
    assert data_of(html)["searches"] == [json.loads(json.dumps(beside.to_dict()))]
    cells = re.search(r'<th scope="row">rebase .*?</tr>', html)[0]
    assert f"{beside.difference.difference * 100:+.1f}<small>" in cells


def test_a_problem_has_the_tree_of_its_search(page):
    html, _ = page
    for problem in data_of(html)["problems"]:
        (tree,) = problem["searches"]
        assert (tree["row"], tree["spent"], tree["by"]) == (2, 39, "judge")
        rows = [(row["index"], row["depth"], row["fate"], row["score"]) for row in tree["rows"]]
        assert rows == [
            *((0, 0, "dropped", 0.25), (2, 1, "chosen", 0.75)),
            *((3, 2, "left", 0.5), (1, 0, "kept", 0.5)),
        ]
        assert tree["rows"][0]["text"] == TEXT


def test_a_report_without_searches_has_no_place_for_them():
    pools = list(make_pools())
    html = render_report(et.scaling_curve(pools, ["majority"], bootstrap=20), pools).decode()
    assert 'class="searched"' not in html
    assert [problem["searches"] for problem in data_of(html)["problems"]] == [[]] * 3
