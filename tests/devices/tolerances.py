"""What each check of `parity.py` may differ by from its reference."""

# The largest absolute error allowed, of a check or of a check with a dtype, and why.
TOLERANCES = {
    "golden": 2e-5,  # what the README promises of the original's numbers
    "logits float32": 2e-5,  # logits up to 10; sums of up to 48 products in another order
    "logits float16": 2e-2,  # inputs of each product are rounded to 11 bits
    "logits bfloat16": 2e-1,  # the same, 8 bits
    "jit": 2e-5,
    "generate float32": 2e-5,  # log-probabilities; the tokens must be the same
    "greedy": 2e-5,
    "two_devices": 2e-5,
    "hidden": 2e-5,
    "forks": 2e-5,
    "kept float16": 5e-3,  # logits up to 10; keys and values are rounded to 11 bits
    "recurrent": 2e-5,
    "recurrent_forks": 2e-5,
    "logits": 2e-5,  # with matrices in blocks
    "generate": 2e-5,
    "experts": 2e-5,
    "groups": 5e-6,  # of the largest result; sums of up to 1536 products
    "layers": 5e-6,  # the same
    "step": 0,  # of bits: the count of other numbers in a row among others
    "quantized": 2e-3,  # sums of up to 256 products, up to 270, where float32 resolves 2e-5
    "read_gguf": 1e-5,  # numbers up to 30 of a product and a sum
    "save": 0,  # of bits: the count of other weights
    "select": 0,  # of indices: the count of wrong ones
    "extremes float32": 2e-6,
    "extremes float16": 2e-3,  # results up to 2, held in 11 bits
    "extremes bfloat16": 2e-2,  # in 8 bits
    "train": 5e-6,
    "drawn": 0,  # of kinds of logits: the count of those with other tokens or log-probabilities
    "draws": 0,  # of pools: the count of those that differ in a bit
    "random": 0,  # of bits: the count of different numbers
}


def tolerance(check):
    """That of a check with its argument."""
    return TOLERANCES.get(check, TOLERANCES.get(check.split()[0]))
