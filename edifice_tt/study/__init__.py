"""Measuring: exact estimators over pools, intervals, scorer quality, curves. Host and float64."""
