"""The losses for fitting a head, functions of logits, targets and weights. Knows nothing else.

All three have shape (P, N, T): problems, candidates per problem, positions per candidate. Padding
and positions without a target have weight 0.
"""

from collections.abc import Callable

from tinygrad import Tensor

# (logits, targets, weights) -> scalar
Loss = Callable[[Tensor, Tensor, Tensor], Tensor]


def outcome_loss(logits: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
    """The weighted mean of the binary cross-entropy.

    With one position per candidate it trains an outcome verifier (Cobbe et al., 2021,
    arXiv:2110.14168), with every token or step a process verifier.
    """
    each = logits.softplus() - logits * targets
    return (each * weights).sum() / weights.sum().maximum(1e-12)


def pairwise_loss(margin: float = 0.0, centre: float = 0.01) -> Loss:
    """Bradley-Terry loss: in each pair of a right and a wrong candidate, the right one wins.

    The loss of a pair is -log sigmoid(right - wrong - margin) + centre * (right + wrong)^2; the
    second term keeps the logits around 0. Pairs are within a problem, and each problem with a pair
    counts the same. It reads the last position with a weight. Source: Ouyang et al., 2022,
    arXiv:2203.02155; the margin, Touvron et al., 2023, arXiv:2307.09288; centring, Eisenstein et
    al., 2023, arXiv:2312.09244.
    """

    def loss(logits: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
        counts = (weights > 0).float()  # (P, N, T)
        behind = counts.flip(-1).cumsum(-1).flip(-1)  # the positions from here on with a weight
        last = counts * (behind == 1).float()
        s, y = (logits * last).sum(-1), (targets * last).sum(-1)  # (P, N)
        there = last.sum(-1)
        right, wrong = there * y, there * (1 - y)
        pairs = right.unsqueeze(2) * wrong.unsqueeze(1)  # (P, N, N)
        pairs = pairs / pairs.sum((1, 2), keepdim=True).maximum(1)
        ahead = s.unsqueeze(2) - s.unsqueeze(1)
        both = s.unsqueeze(2) + s.unsqueeze(1)
        each = (margin - ahead).softplus() + centre * both.square()
        return (each * pairs).sum() / pairs.sum().maximum(1e-12)

    return loss
