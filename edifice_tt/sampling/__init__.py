"""Prompt -> pool: how candidates are drawn, and runs over many problems."""
