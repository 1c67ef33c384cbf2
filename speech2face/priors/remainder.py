"""Small components of embeddings given the large ones: a normal distribution by regression on quadratic features."""

import numpy as np
import torch
from torch import nn

MEAN_PENALTY, SPREAD_PENALTY = 1.0, 300.0  # of the ridge regressions
FOLDS = 4
FARTHEST = 5.0  # deviations from the mean at which a large component is cut off; logarithms of a spread are cut, too


class Remainder(nn.Module):
    """Large components (batch, large) -> small ones (batch, small), which are normal given the large ones.

    Mean and spread are quadratic functions of the large components. The spread of embeddings of faces differs by a
    factor of two between hair styles, so that one covariance for all would make faces that are too alike.
    """

    def __init__(self, large: int, small: int) -> None:
        super().__init__()
        self.register_buffer("weights", torch.zeros(2, small, large * (large + 3) // 2))  # of mean and log spread
        self.register_buffer("biases", torch.zeros(2, small))

    def features(self, large: torch.Tensor) -> torch.Tensor:
        """(batch, large) -> themselves and their products (batch, features)."""
        large = large.clamp(-FARTHEST, FARTHEST)
        first, second = torch.triu_indices(large.shape[1], large.shape[1], device=large.device)
        return torch.cat([large, large[:, first] * large[:, second] / FARTHEST], 1)

    def forward(self, large: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        """Large components (batch, large) and noise (batch, small) -> small components (batch, small)."""
        mean, spread = torch.einsum("nf,ksf->kns", self.features(large), self.weights) + self.biases[:, None]
        return mean + spread.clamp(-FARTHEST, FARTHEST).exp() * noise

    def fit(self, large: np.ndarray, small: np.ndarray) -> None:
        """Regress on pairs (n, large) and (n, small). The spread is that of errors on pairs that were left out."""
        from sklearn.linear_model import Ridge
        from sklearn.model_selection import cross_val_predict

        seen, folds = self.features(torch.from_numpy(large)).double().numpy(), min(FOLDS, len(large))
        mean, spread = Ridge(MEAN_PENALTY), Ridge(SPREAD_PENALTY)
        squares = (small - cross_val_predict(mean, seen, small, cv=folds).reshape(small.shape)) ** 2
        logs = np.log(np.maximum(squares, 1e-4)) / 2
        found = cross_val_predict(spread, seen, logs, cv=folds).reshape(small.shape).clip(-FARTHEST, FARTHEST)
        offset = np.log((squares * np.exp(-2 * found)).mean(0).clip(1e-8)) / 2  # a mean of logarithms is too low
        for number, (model, aims, extra) in enumerate([(mean, small, 0.0), (spread, logs, offset)]):
            model.fit(seen, aims)
            self.weights[number] = torch.from_numpy(model.coef_).float()
            self.biases[number] = torch.from_numpy(model.intercept_ + extra).float()
