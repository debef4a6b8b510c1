"""Several kinds of problem side by side: a table and a figure from curves made by hand."""

import re
import runpy
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path

import edifice_tt as et

made = runpy.run_path(str(Path(__file__).parent.parent / "examples" / "report" / "families.py"))
family_figure, family_table = made["family_figure"], made["family_table"]


def pools(*marks):
    """A problem for each row of marks: right or wrong, by two scorers of opposite opinion."""
    return [
        et.Pool(
            f"q{i}",
            tuple(
                et.Candidate(
                    j,
                    str(int(right)),
                    correct=right,
                    scores={"logprob": -float(right), "v": 0.5 + right / 4},
                )
                for j, right in enumerate(row)
            ),
            ranges={"v": "probability"},
        )
        for i, row in enumerate(marks)
    ]


EASY = pools(*[[True, False, False]] * 7)
HARD = pools(*[[False, False, False]] * 7)
RULES = ["random", "majority", "best_of_n", "oracle"]
CURVES = {n: et.scaling_curve(p, RULES) for n, p in (("easy", EASY), ("hard <&>", HARD))}
DUELS = {n: et.scaling_curve(p, ["best_of_n"]) for n, p in (("easy", EASY), ("hard <&>", HARD))}


def test_a_row_has_the_accuracies_at_the_largest_k_and_two_differences():
    head, rule, easy, hard = family_table(CURVES, DUELS).splitlines()
    dot = "\N{MIDDLE DOT}"
    names = [
        "task",
        "random",
        "majority",
        f"best_of_n {dot} logprob",
        f"best_of_n {dot} v",
        "oracle",
    ]
    names += [f"best_of_n {dot} v - majority", f"best_of_n {dot} v - best_of_n {dot} logprob"]
    assert head == f"| {' | '.join(names)} |"
    assert rule.count("---:") == 7
    # 7 problems alike: of others a share of 1.96^2 / (7 + 1.96^2) = .354 may be otherwise.
    same = "1.0 [.65, 1.0]"
    assert easy.split(" | ")[1:] == [
        ".33 [.22, .57]",
        ".00 [.00, .35]",
        ".00 [.00, .35]",
        same,
        same,
        "**+1.00 [+0.29, +1.00]**",
        "**+1.00 [+0.29, +1.00]** |",
    ]
    assert hard.endswith("| +0.00 [-0.35, +0.35] | +0.00 [-0.35, +0.35] |")


def test_a_difference_whose_interval_holds_zero_is_not_bold():
    """Four problems in which the scorer is right, and three in which the other one is."""
    mixed = [*EASY[:4], *pools(*[[False, True, True]] * 3)]
    swapped = [
        replace(
            pool,
            problem=str(i),
            candidates=tuple(
                replace(c, scores={"logprob": float(c.correct), "v": 0.5 - c.correct / 4})
                if i > 3
                else c
                for c in pool
            ),
        )
        for i, pool in enumerate(mixed)
    ]
    curves = {"mixed": et.scaling_curve(swapped, RULES)}
    duels = {"mixed": et.scaling_curve(swapped, ["best_of_n"])}
    last = family_table(curves, duels).splitlines()[-1]
    assert last.split(" | ")[-1].startswith("+0.14 [-")


def test_the_figure_is_one_valid_file_with_a_panel_a_family_and_a_line_a_rule():
    root = ET.fromstring(family_figure(CURVES))
    text = "".join(root.itertext())
    assert "hard <&>" in text
    lines = root.iterfind(".//{*}path[@class='line']")
    assert len(list(lines)) == 2 * 5
    assert re.fullmatch(r"0 0 \d+ \d+", root.get("viewBox"))


def test_a_line_ends_where_its_accuracy_says():
    """The oracle of easy problems climbs to the top of its panel, that of hard ones stays below."""
    root = ET.fromstring(family_figure(CURVES))
    lines = [p.get("d") for p in root.iterfind(".//{*}path[@class='line']")]
    ends = [float(d.rpartition(",")[2]) for d in lines]
    assert ends[4] == ends[3] < ends[0] < ends[1] == ends[9]
