"""Runs a model over rows: prompt, steps in lock-step, hidden states, memory."""
