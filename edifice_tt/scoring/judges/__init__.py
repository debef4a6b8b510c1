"""Judges: reward models, process reward models and language models that rate answers."""
