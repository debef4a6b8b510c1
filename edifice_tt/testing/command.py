"""Runs the command line as a plugin's test does. Knows no command."""

from typing import Any


def run_command(*words: Any) -> int:
    """Run `edifice-tt` with these words, here; returns its exit status. It prints as always."""
    from edifice_tt.cli import main

    return main([str(word) for word in words])
