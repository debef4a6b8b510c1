"""The plugin author's test kit: one call tells whether a plugin keeps the contract.

    from edifice_tt.testing import check_scorer

    def test_it_keeps_the_contract():
        check_scorer("my_scorer")

Each check stops at the first broken promise. It raises `BrokenPromise`, an `AssertionError` that
names the promise and the values that differ. Knows the contract of each kind of plugin; knows no
plugin and no test runner. Import time is not checked: `EDIFICE_TT_TRACE_PLUGINS=1` shows it.
"""

from edifice_tt.testing.answers import check_answers
from edifice_tt.testing.architectures import check_architecture
from edifice_tt.testing.command import run_command
from edifice_tt.testing.examples import byte_tokenizer, small_pool, tiny_model
from edifice_tt.testing.executors import check_executor
from edifice_tt.testing.formats import check_format
from edifice_tt.testing.promises import BrokenPromise
from edifice_tt.testing.scorers import check_scorer
from edifice_tt.testing.searches import check_search
from edifice_tt.testing.selectors import check_selector
from edifice_tt.testing.shared_runs import SharedRun
from edifice_tt.testing.tasks import check_tasks

__all__ = [
    "BrokenPromise",
    "SharedRun",
    "byte_tokenizer",
    "check_answers",
    "check_architecture",
    "check_executor",
    "check_format",
    "check_scorer",
    "check_search",
    "check_selector",
    "check_tasks",
    "run_command",
    "small_pool",
    "tiny_model",
]
