"""The page in a real browser: headless Chromium, from the environment's CHROMIUM or the PATH."""

import os
import shutil
from dataclasses import replace

import pytest
from searched import searched

import edifice_tt as et
from edifice_tt.study.report.page import render_report

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
NAMES = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: set CHROMIUM, or install one"),
]

EVIL = "</script><img src=x onerror=\"document.title='broken'\">"
COUNT = 61  # more than are listed at once


def make_pools():
    """Problem i: solved where 3 divides i, unsolved where 3 divides i + 1, or else mixed."""
    for i in range(COUNT):
        right = [(True, True), (True, False), (False, False)][i % 3]
        said = f"answer{i}" if right[0] else f"{i}"
        texts = (f"the long way to {said}\n{EVIL}", f"x{i} " + "unbroken" * 40)
        candidates = tuple(
            et.Candidate(
                index,
                texts[index],
                finish_reason="eos",
                answer=f"answer{i}" if right[index] else None,
                correct=right[index],
                num_tokens=13,
                scores={"judge": (index + 1) / 3, "a judge of quite a long name": -index * 1e-3},
            )
            for index in range(2)
        )
        ranges = {"judge": "probability"}
        name = "a-name-without-any-space-" * 4 + str(i) if i == 1 else f"p{i}"
        asked = f"Question {i}? {EVIL}"
        settings = {"model": "m" * 99, "graded": "regex:to (.+)"}
        pool = et.Pool(asked, candidates, settings, name, "7", ranges)
        yield replace(pool, prompt=f"<s>{asked}</s>", messages=[{"role": "user", "content": asked}])


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    pools = list(make_pools())
    rules = ("oracle", "best_of_n", "majority", "weighted", "random")
    curve = et.scaling_curve(pools, rules, bootstrap=20, pool="pool" * 30 + ".jsonl")
    path = tmp_path_factory.mktemp("report") / "report.html"
    found = searched(pools[:2], path.with_name("s.jsonl"))
    path.write_bytes(render_report(curve, pools, searches=[found]))
    return path.as_uri()


@pytest.fixture(scope="module")
def chromium():
    with sync_api.sync_playwright() as playwright:
        # A container's root has no sandbox.
        flags = ["--no-sandbox"] if os.name == "posix" and os.geteuid() == 0 else []
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=flags)
        yield browser
        browser.close()


@pytest.fixture
def open_page(chromium, address):
    """Open the report; when the test is over, nothing may have gone wrong on the page."""
    opened, mistakes, requests = [], [], []

    def open_page(**options):
        page = chromium.new_page(**options)
        opened.append(page)
        page.set_default_timeout(10_000)
        page.on("console", lambda message: mistakes.append(message.text))
        page.on("pageerror", lambda error: mistakes.append(str(error)))
        page.on("request", lambda request: requests.append(request.url))
        page.goto(address)
        return page

    yield open_page
    for page in opened:
        page.wait_for_timeout(20)  # for what the page does after the test's last step
        page.close()
    assert mistakes == []
    assert requests == [address] * len(opened)


def names(page):
    return page.locator(".problem > summary .id").all_inner_texts()


def candidates(page, count):
    """Those of the opened problem; a page hears a moment later that something was opened."""
    page.locator(".candidate").nth(count - 1).wait_for()
    return page.locator(".candidate").all()


def overflow(page):
    return page.evaluate("document.documentElement.scrollWidth - window.innerWidth")


@pytest.mark.slow
def test_typing_a_search_leaves_the_problems_that_hold_it(open_page):
    page = open_page()
    assert len(names(page)) == 50
    page.get_by_label("Search").press_sequentially("ANSWER4")
    expected = [i for i in range(COUNT) if i % 3 != 2 and str(i).startswith("4")]
    assert names(page) == [f"p{i}" for i in expected]  # 4, 40, 42, ...: not 41, which has none
    assert page.get_by_role("status").inner_text() == f"{len(expected)} of {COUNT} problems"
    page.get_by_label("Search").fill("the long way to 5\n")
    assert names(page) != []
    page.get_by_label("Search").fill("nowhere")
    assert names(page) == []
    assert page.get_by_role("status").inner_text() == "No problem matches."


@pytest.mark.slow
def test_the_rest_is_listed_when_asked_for(open_page):
    page = open_page()
    page.get_by_role("button", name="Show 11 more").press("Enter")
    assert len(names(page)) == COUNT
    assert page.evaluate("document.activeElement.querySelector('.id').textContent") == "p50"
    assert not page.get_by_role("button", name="more").is_visible()


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "rest"), [("solved", 0), ("mixed", 1), ("unsolved", 2)])
def test_a_kind_shows_its_problems_alone(open_page, kind, rest):
    page = open_page()
    expected = [i for i in range(COUNT) if i % 3 == rest]
    page.get_by_text(f"{kind} {len(expected)}", exact=True).click()
    assert len(names(page)) == len(expected)
    assert page.locator(f".problem.{kind}").count() == len(expected)


@pytest.mark.slow
def test_wrong_choices_of_a_rule_can_be_singled_out(open_page):
    page = open_page()
    page.get_by_label("Wrong choice by").select_option("majority")
    assert page.locator(".problem.mixed").count() == 0  # the only answer given is the right one
    page.get_by_label("Wrong choice by").select_option("best_of_n \N{MIDDLE DOT} judge")
    assert page.locator(".problem.mixed").count() > 0  # the judge likes the second, a wrong one
    assert page.locator(".problem.solved").count() == 0


@pytest.mark.slow
def test_a_problem_and_a_candidate_open_by_keyboard_and_tell_everything(open_page):
    page = open_page()
    page.keyboard.press("/")
    page.keyboard.type("question 4?")
    page.locator(".problem > summary").press("Enter")
    first, second = candidates(page, 2)
    assert "\N{BALLOT X} wrong" in second.inner_text()  # of the first scorer's order
    page.get_by_label("Candidates by").select_option("judge")
    first, second = candidates(page, 2)
    shown = first.inner_text()
    assert "\N{BALLOT X} wrong" in shown
    for words in ("#1", "judge 0.667", "13 tokens", "ended by eos", "no answer"):
        assert words in shown
    assert "chosen by best_of_n \N{MIDDLE DOT} judge" in shown
    assert "chosen by majority" not in shown
    assert "\N{CHECK MARK} right" in second.inner_text()
    assert "chosen by majority" in second.inner_text()
    second.locator("summary").press("Enter")
    second.locator("pre").wait_for()
    assert second.locator("pre").inner_text() == f"the long way to answer4\n{EVIL}"
    assert second.locator("pre .read").all_inner_texts() == ["answer4"]


def test_markup_in_a_pool_stays_text(open_page):
    page = open_page()
    page.locator(".problem > summary").first.click()
    page.locator(".candidate > summary").first.click()
    page.locator(".candidate pre").first.wait_for()
    assert page.locator("img").count() == 0
    assert page.locator("script").count() == 2
    assert page.title().endswith("accuracy against candidates")
    assert page.locator(".inside > pre").first.inner_text() == f"Question 0? {EVIL}"
    assert page.locator(".problem .ask").first.inner_text() == f"Question 0? {EVIL}"
    page.get_by_text("As the model read it").click()
    assert page.locator(".more pre").inner_text() == f"<s>Question 0? {EVIL}</s>"


@pytest.mark.slow
def test_dark_and_light_follow_the_system_until_the_button_is_pressed(open_page):
    def paper(page):
        return page.evaluate("getComputedStyle(document.body).backgroundColor")

    page, dark = open_page(color_scheme="light"), open_page(color_scheme="dark")
    assert paper(page) == "rgb(253, 252, 250)"
    assert paper(dark) == "rgb(20, 22, 26)"
    button = page.get_by_role("button", name="theme")
    assert button.inner_text() == "Dark theme"  # what pressing it gives
    assert dark.get_by_role("button", name="theme").inner_text() == "Light theme"
    button.press("Enter")
    assert paper(page) == paper(dark)
    assert button.inner_text() == "Light theme"
    button.press("Enter")
    assert button.inner_text() == "Dark theme"
    assert paper(page) == "rgb(253, 252, 250)"


@pytest.mark.parametrize(
    "width", [360, *(pytest.param(w, marks=pytest.mark.slow) for w in (600, 1200))]
)
def test_nothing_is_wider_than_the_window(open_page, width):
    page = open_page(viewport={"width": width, "height": 780})
    page.locator(".problem > summary").nth(1).click()
    for one in candidates(page, 2):
        one.locator("summary").click()
    for more in page.locator(".more > summary").all():
        more.click()
    assert page.locator(".candidate[open]").count() == 2
    assert overflow(page) <= 0


@pytest.mark.slow
def test_a_table_that_is_too_wide_for_a_phone_says_so_and_keeps_its_first_column(open_page):
    page = open_page(viewport={"width": 360, "height": 780})
    table = page.get_by_role("region", name="scorers", exact=True)
    told = "getComputedStyle(element, '::before').content"
    assert "sideways" in table.evaluate(f"element => {told}")
    first = table.locator("th[scope=row]").first
    left = first.bounding_box()["x"]
    table.evaluate("element => { element.scrollLeft = 99; }")
    assert table.evaluate("element => element.scrollLeft") > 0
    assert first.bounding_box()["x"] == left
    page.set_viewport_size({"width": 1200, "height": 780})
    page.wait_for_function("!document.querySelector('.wider')")


def test_no_label_of_a_chart_lies_over_a_bar(open_page):
    page = open_page(viewport={"width": 1200, "height": 780})
    found = page.evaluate("""() => {
      const covers = (a, b) =>
        Math.min(a.right, b.right) - Math.max(a.left, b.left) > 1 &&
        Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 1;
      let seen = 0;
      const over = [];
      for (const chart of document.querySelectorAll(".half svg")) {
        const bars = [...chart.querySelectorAll("rect")];
        const boxes = bars.map((bar) => bar.getBoundingClientRect());
        for (const text of chart.querySelectorAll("text")) {
          const own = text.getBoundingClientRect();
          seen += 1;
          if (boxes.some((box) => box.height > 0 && covers(own, box))) over.push(text.textContent);
        }
      }
      return {seen, over};
    }""")
    assert found["seen"] > 20
    assert found["over"] == []


@pytest.mark.slow
def test_the_facts_of_a_problem_have_room_on_a_phone(open_page):
    page = open_page(viewport={"width": 360, "height": 780})
    page.locator(".problem > summary").first.click()
    candidates(page, 2)
    widths = page.locator(".facts dd").evaluate_all("all => all.map((one) => one.clientWidth)")
    assert min(widths) >= 70


def test_the_axis_changes_with_what_is_asked_for(open_page):
    page = open_page()
    title = page.locator("svg.wide .unit.tokens .title")
    assert not title.is_visible()
    page.get_by_text("tokens", exact=True).first.click()
    assert title.is_visible()
    assert title.text_content() == "tokens, 13 a candidate"
    assert not page.locator("svg.wide .unit.k .title").is_visible()


def test_without_scripts_the_charts_and_the_numbers_are_there(open_page):
    page = open_page(java_script_enabled=False)
    assert page.locator("svg.chart:visible").count() >= 3
    assert page.get_by_text("needs this page's own script").is_visible()
    assert not page.get_by_label("Search").is_visible()


def test_a_problem_shows_the_tree_of_its_search(open_page):
    page = open_page()
    page.locator(".problem > summary").first.click()
    tree = page.locator(".tree")
    assert "rebase" in tree.locator("h3").inner_text()
    rows = [" ".join(row.split()) for row in tree.locator(".row").all_inner_texts()]
    assert [row.split()[:2] for row in rows] == [
        *(["#0", "dropped"], ["#2", "chosen"], ["#3", "not"], ["#1", "kept"]),
    ]
    assert "score 0.750" in rows[1]
    assert "copy of #0 after 4" in rows[1]
    assert "0.625 after 4" in rows[3]
    left = [row.bounding_box()["x"] for row in tree.locator(".row").all()]
    assert left[0] == left[3] < left[1] < left[2]
    tree.locator("summary.row").first.click()
    assert tree.locator("pre").first.inner_text() == "first step </script>\nthe rest"
    page.locator(".problem > summary").nth(2).click()
    assert page.locator(".tree").count() == 1  # no search was made on the third


@pytest.mark.parametrize("width", [1280, 390])
def test_a_figure_of_searches_fits_its_page(open_page, width):
    page = open_page(viewport={"width": width, "height": 900})
    figure = page.locator("figure.searched")
    assert figure.locator("svg.chart:visible").count() == 1
    assert overflow(page) <= 0
