"""Runs a model over rows: prompts, steps in lock-step, hidden states, memory."""
