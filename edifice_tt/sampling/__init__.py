"""Prompt -> pool: draws candidates, for one prompt or for many problems."""
