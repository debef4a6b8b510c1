"""Reward models in files: which kind one is, its head, and its language model without a head.

Knows tensors and configs; no text and no candidate.
"""
