"""How a weight is stored: in blocks, as whole numbers, in 16 bits."""
