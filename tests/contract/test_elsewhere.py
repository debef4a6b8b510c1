"""The kit asks a scorer of text in a second process, in which texts hash to other numbers."""

import pytest
from fake_plugins import HEAD, open_site

from edifice_tt.testing import BrokenPromise, check_scorer
from edifice_tt.testing.elsewhere import ask_elsewhere

site = pytest.fixture(open_site, name="site")
PLUGIN = """
def register_scorers(register):
    register("odd", Odd, reads="text")


class Odd:
    def __init__(self, words: int = 40):
        self.words = words

    def __call__(self, prompt, completions):
        return [{score} for text in completions]
"""


def of_module():
    """A factory that another process can import."""
    return lambda prompt, completions: [float(hash(text) % 1000) for text in completions]


@pytest.mark.parametrize(
    "score",
    [
        "float(hash(text) % 1009)",
        "float([*{f'{i} {text}' for i in range(self.words)}][0].split()[0])",
    ],
    ids=["hash", "order of a set"],
)
@pytest.mark.slow
def test_a_scorer_that_hangs_on_its_process_is_refused(site, score):
    site.install("odd", HEAD + PLUGIN.format(score=score))
    words = r"'odd' of odd 1\.0: .* gets \d+ in this process and \d+ in another; .* hashlib"
    with pytest.raises(BrokenPromise, match=words):
        check_scorer("odd", words=41)


@pytest.mark.slow
def test_what_depends_on_the_text_alone_is_the_same_in_another_process(site):
    site.install(
        "odd", "import zlib\n" + HEAD + PLUGIN.format(score="zlib.crc32(text.encode()) / 3")
    )
    check_scorer("odd")
    assert ask_elsewhere("odd", "problem", {}, ["a"]) == [3904355907 / 3]


@pytest.mark.slow
def test_a_factory_of_a_module_is_asked_there_and_one_within_a_function_cannot_be():
    with pytest.raises(BrokenPromise, match=r"in this process and \d+ in another"):
        check_scorer(of_module, "text")
    check_scorer(lambda: of_module(), "text")


@pytest.mark.slow
@pytest.mark.parametrize(
    "code",
    [
        "print('loud') or float(len(text))",
        "float(len(text)) if __import__('os').environ['PYTHONHASHSEED'] == 'mine' else 1 / 0",
        "self.ask(text)",
        "4.0 + 1e-9 * (__import__('os').environ['PYTHONHASHSEED'] == 'mine')",
    ],
    ids=["prints", "fails", "asks a service", "rounds"],
)
def test_what_fails_in_another_process_or_asks_a_service_is_left_out(site, code, monkeypatch):
    """A test may have prepared a service in its own process."""
    asks = """
    def ask(self, text):
        import os, socket
        if os.environ["PYTHONHASHSEED"] != "mine":
            socket.create_connection(("127.0.0.1", 9), timeout=0.1)
        return float(len(text))
"""
    monkeypatch.setenv("PYTHONHASHSEED", "mine")
    site.install("odd", HEAD + PLUGIN.format(score=code) + asks)
    check_scorer("odd")
    expected = [4.0] if "loud" in code or "1e-9" in code else None
    assert ask_elsewhere("odd", "problem", {}, ["four"]) == expected
    assert ask_elsewhere("odd", "problem", {"words": object()}, ["four"]) is None
