"""Training scorer heads on sampled answers that are known to be right or wrong."""
