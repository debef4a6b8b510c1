import pytest

from edifice_tt.contract import errors


@pytest.mark.parametrize(
    "name",
    ["UnknownNameError", "NameTakenError", "PluginError", "CheckpointError", "ToolchainError"],
)
def test_every_error_is_an_edifice_error(name):
    assert issubclass(getattr(errors, name), errors.EdificeError)


def test_edifice_errors_are_not_value_errors():
    """A caller who catches one must not swallow the other: bad values are plain ValueErrors."""
    assert not issubclass(errors.EdificeError, ValueError)
    assert not issubclass(errors.UnknownNameError, LookupError)


def test_plugin_warning_is_shown_by_default():
    """Python hides several kinds of warning; a UserWarning is not among them."""
    assert issubclass(errors.PluginWarning, UserWarning)
    assert not issubclass(errors.PluginWarning, DeprecationWarning)


def test_unknown_name_lists_the_nearest_first_and_then_all():
    error = errors.unknown_name("scorer", "lenear", ["mlp", "logprob", "linear"])
    assert isinstance(error, errors.UnknownNameError)
    assert str(error) == (
        "unknown scorer 'lenear'; did you mean 'linear'? Known: linear, logprob, mlp"
    )


def test_unknown_name_orders_several_near_names_by_likeness():
    error = errors.unknown_name("scorer", "reward2", ["award", "zebra", "reward", "reward12"])
    assert str(error) == (
        "unknown scorer 'reward2'; did you mean 'reward12' or 'reward' or 'award'? "
        "Known: award, reward, reward12, zebra"
    )


def test_unknown_name_guesses_nothing_when_nothing_is_near():
    error = errors.unknown_name("selector", "zzz", ["majority", "best_of_n"])
    assert str(error) == "unknown selector 'zzz'; known: best_of_n, majority"


def test_unknown_name_says_so_when_nothing_is_known():
    assert str(errors.unknown_name("scorer", "mlp", [])) == "unknown scorer 'mlp'; known: none"


@pytest.mark.parametrize("name", [None, 7, ("mlp",)])
def test_unknown_name_takes_a_name_that_is_no_string(name):
    assert str(errors.unknown_name("scorer", name, ["x"])) == f"unknown scorer {name!r}; known: x"


def test_unknown_name_ends_with_the_note():
    assert str(errors.unknown_name("scorer", "a", ["b"], "; look there")).endswith(
        "known: b; look there"
    )


def test_known_names_may_be_an_iterator():
    error = errors.unknown_name("scorer", "mpl", iter(["mlp", "linear"]))
    assert str(error) == "unknown scorer 'mpl'; did you mean 'mlp'? Known: linear, mlp"
