"""Terms of the losses."""

import torch
import torch.nn.functional as F


def normalized_distance(predicted: torch.Tensor, true: torch.Tensor) -> torch.Tensor:
    """Squared distance of features (batch, 4096) scaled to length 1, mean over the batch (Oh et al. 2019, 3.2)."""
    return (F.normalize(predicted) - F.normalize(true)).square().sum(1).mean()


def length(predicted: torch.Tensor, true: torch.Tensor) -> torch.Tensor:
    """Squared logarithm of the ratio of two features' lengths, (batch, 4096), mean over the batch.

    Directions alone, as in the normalised distance, leave the length free, and a decoder draws it.
    """
    return (predicted.norm(dim=1) / true.norm(dim=1)).log().square().mean()


def layer_distance(predicted: torch.Tensor, true: torch.Tensor) -> torch.Tensor:
    """L1 distance of activations (batch, n) of the decoder's first layer, sum over n, mean over the batch: ibid."""
    return (predicted - true).abs().sum(1).mean()


def distillation(predicted: torch.Tensor, true: torch.Tensor, temperature: float = 2.0) -> torch.Tensor:
    """Cross entropy of softmaxes of logits (batch, classes) at a temperature, mean over the batch: ibid."""
    return F.cross_entropy(predicted / temperature, (true / temperature).softmax(1))


def contrastive(
    predicted: torch.Tensor, true: torch.Tensor, people: torch.Tensor, temperature: float = 0.1
) -> torch.Tensor:
    """InfoNCE, both ways, of cosines between features (batch, 4096): which voice belongs to which face of the batch.

    Van den Oord et al., "Representation learning with contrastive predictive coding", 2018. people (batch,): whose they
    are; two pairs of the same person are not held against each other.
    """
    logits = F.normalize(predicted) @ F.normalize(true).T / temperature
    same = (people[:, None] == people) & ~torch.eye(len(people), dtype=torch.bool, device=people.device)
    logits = logits.masked_fill(same, -torch.inf)
    target = torch.arange(len(people), device=people.device)
    return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2


def trait_loss(predicted: torch.Tensor, true: torch.Tensor) -> torch.Tensor:
    """Of the known: cross entropy (batch, classes) against whole numbers (-1: unknown), or squared error (NaN)."""
    if true.is_floating_point():
        known = true.isfinite()
        error = (predicted[:, 0] - true.nan_to_num()).square()[known]
        return error.mean() if known.any() else predicted.sum() * 0
    return F.cross_entropy(predicted, true, ignore_index=-1) if (true >= 0).any() else predicted.sum() * 0
