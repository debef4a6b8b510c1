"""Renders a curve and its problems as one HTML page. Knows no file format, no model, no network."""
