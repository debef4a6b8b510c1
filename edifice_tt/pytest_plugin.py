"""pytest fixtures for a plugin's own tests. Imports nothing of the library until one is used."""

from typing import Any

import pytest


@pytest.fixture(scope="session")
def edifice_tiny_model() -> Any:
    """`edifice_tt.testing.tiny_model()`, shared by all tests: do not change its weights."""
    from edifice_tt.testing import tiny_model

    return tiny_model()


@pytest.fixture
def edifice_pool() -> Any:
    """`edifice_tt.testing.small_pool()`: six scored answers to one question."""
    from edifice_tt.testing import small_pool

    return small_pool()


@pytest.fixture
def edifice_plugins() -> Any:
    """Fresh `edifice_tt.contract.plugins.Plugins`: its manager, who owns what, what failed."""
    from edifice_tt.contract.plugins import load_plugins

    return load_plugins()
