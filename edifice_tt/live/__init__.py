"""Searches over rows that a model is writing: sampling, scores and a method, row by row."""
