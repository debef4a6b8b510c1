"""Runs the command line in a plugin's tests. Knows no command."""

from typing import Any


def run_command(*words: Any) -> int:
    """Run `edifice-tt` with these arguments in this process; returns its exit status."""
    from edifice_tt.cli import main

    return main([str(word) for word in words])
