"""Scores of samples against the truth."""

import torch


def energy_score(drawn: torch.Tensor, true: torch.Tensor) -> torch.Tensor:
    """The energy score of samples (batch, n, width) against the truth (batch, width), without bias: (batch,).

    The mean distance to the truth minus half the mean distance of two samples: Gneiting and Raftery, "Strictly proper
    scoring rules, prediction, and estimation", JASA 102 (2007), equation 21.
    """
    count = drawn.shape[1]
    apart = torch.cdist(drawn, drawn).sum((1, 2)) / (count * (count - 1))
    return (drawn - true[:, None]).norm(dim=2).mean(1) - apart / 2
