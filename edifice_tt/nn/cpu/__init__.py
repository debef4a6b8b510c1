"""The formulas as C on tinygrad's CPU device, and graphs that run without tinygrad."""
