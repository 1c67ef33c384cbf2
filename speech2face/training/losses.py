"""The terms of the loss functions. Each is a mean over the batch."""

import torch
import torch.nn.functional as F


def normalized_distance(predicted: torch.Tensor, true: torch.Tensor) -> torch.Tensor:
    """Squared distance of embeddings (batch, 4096), scaled to length 1 (Oh et al., CVPR 2019, section 3.2)."""
    return (F.normalize(predicted) - F.normalize(true)).square().sum(1).mean()


def length(predicted: torch.Tensor, true: torch.Tensor) -> torch.Tensor:
    """Squared logarithm of the ratio of the lengths of two embeddings (batch, 4096).

    The normalized distance depends on directions only, but the length of an embedding affects the decoded face.
    """
    return (predicted.norm(dim=1) / true.norm(dim=1)).log().square().mean()


def squared_distance(predicted: torch.Tensor, true: torch.Tensor) -> torch.Tensor:
    """Squared distance of embeddings (batch, 4096), divided by the mean squared length of the true ones.

    The embedding with the least of it is the mean of all that are true of such an input.
    """
    return F.mse_loss(predicted, true) / true.square().mean()


def layer_distance(predicted: torch.Tensor, true: torch.Tensor) -> torch.Tensor:
    """L1 distance, summed over n, of activations (batch, n) of the decoder's first layer (ibid.)."""
    return (predicted - true).abs().sum(1).mean()


def distillation(predicted: torch.Tensor, true: torch.Tensor, temperature: float = 2.0) -> torch.Tensor:
    """Cross entropy of the softmaxes of two logits (batch, classes) at a temperature (ibid.)."""
    return F.cross_entropy(predicted / temperature, (true / temperature).softmax(1))


def contrastive(
    predicted: torch.Tensor, true: torch.Tensor, people: torch.Tensor, temperature: float = 0.1
) -> torch.Tensor:
    """Contrastive loss: InfoNCE of the cosines between predicted and true embeddings (batch, 4096), in both directions.

    Van den Oord et al., "Representation learning with contrastive predictive coding", 2018. people: (batch,), the
    person of each pair. Other pairs of the same person are not negatives.
    """
    logits = F.normalize(predicted) @ F.normalize(true).T / temperature
    same = (people[:, None] == people) & ~torch.eye(len(people), dtype=torch.bool, device=people.device)
    logits = logits.masked_fill(same, -torch.inf)
    target = torch.arange(len(people), device=people.device)
    return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2


def trait_loss(predicted: torch.Tensor, true: torch.Tensor) -> torch.Tensor:
    """The loss of one trait, over the rows where it is known; 0 if there is none.

    true: (batch,). Class indices, with -1 for unknown, give the cross entropy with predicted (batch, classes); numbers,
    with NaN for unknown, give the squared error of predicted (batch, 1).
    """
    if true.is_floating_point():
        known = true.isfinite()
        error = (predicted[:, 0] - true.nan_to_num()).square()[known]
        return error.mean() if known.any() else predicted.sum() * 0
    return F.cross_entropy(predicted, true, ignore_index=-1) if (true >= 0).any() else predicted.sum() * 0
