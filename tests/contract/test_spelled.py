"""`help`, signatures and completion show real names."""

import inspect
import pydoc
import re

import pytest

import edifice_tt as et
from edifice_tt.contract.spelled import takes_options_of


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("generate_pools", {"n": 16, "temperature": 0.8, "resume": False}),
        ("score_pools", {"reduce": None, "concurrency": None}),
        ("fit_scorer", {"epochs": 60, "layer": None, "progress": False}),
        ("compare_layers", {"epochs": 60, "layers": None}),
    ],
)
def test_a_signature_names_the_options_that_go_further(name, options):
    parameters = inspect.signature(getattr(et, name)).parameters
    assert {option: parameters[option].default for option in options} == options
    assert not any(one.kind == one.VAR_KEYWORD for one in parameters.values())


@pytest.mark.parametrize(
    ("name", "absent"),
    [("generate_pools", ["gold", "indices", "on_finish"]), ("compare_layers", ["layer"])],
)
def test_a_signature_names_no_option_that_would_be_refused(name, absent):
    assert not {*absent} & {*inspect.signature(getattr(et, name)).parameters}


def test_an_option_of_the_function_itself_is_not_named_twice():
    def inner(a, b=1, c=2): ...

    @takes_options_of(inner)
    def outer(b=3, **options): ...

    assert str(inspect.signature(outer)) == "(b=3, *, c=2)"


def test_help_shows_every_public_name_with_its_signature():
    text = pydoc.render_doc(et, renderer=pydoc.plaintext)
    for name in et.__all__:
        assert name in text
    assert re.search(r"generate\(\s*lm:", text)


def test_completion_offers_the_public_names_and_nothing_else():
    assert set(dir(et)) == {*et.__all__, "__version__", "__doc__"}
