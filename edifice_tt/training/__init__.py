"""Trains scorer heads on sampled answers that are marked right or wrong."""
