"""Training of a face encoder: loss terms and metrics."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from speech2face.evaluation.retrieval import ranks
from speech2face.preprocessing.image import to_batch
from speech2face.training import augmentation, losses
from speech2face.training.modules import Batch, Terms, Training


class FaceTraining(Training):
    """Trains a face encoder with the loss terms identity, traits and portrait.

    identity: a classification layer with a margin (Wang et al., "CosFace", CVPR 2018).
    traits, portrait: linear layers predict each trait, a thumbnail of the normalized face and its landmarks from the
        embedding. The encoder learns these long before it can distinguish thousands of people.

    classes: number of classes of each trait; 1: the trait is a number. margin: of the cosine of the true class.
    normalize: see speech2face.preprocessing.image.Image.normalize.
    portrait: mean thumbnail (28, 28, 3) and mean landmarks (72, 2), or None if they are not known.
    """

    monitor, mode = "val/R@1", "max"

    def __init__(
        self,
        *args: Any,
        classes: dict[str, int],
        margin: float,
        normalize: Callable[[torch.Tensor], torch.Tensor],
        portrait: tuple[np.ndarray, np.ndarray] | None,
        **options: Any,
    ) -> None:
        super().__init__(*args, **options)
        self.heads = nn.ModuleDict({trait: nn.Linear(4096, count) for trait, count in classes.items()})
        self.thumbnail = self.landmarks = None
        if portrait is not None and "portrait" in self.loss_weights:
            self.thumbnail, self.landmarks = (nn.Linear(4096, one.size) for one in portrait)
            for layer, one in zip((self.thumbnail, self.landmarks), portrait, strict=True):
                layer.weight.data.mul_(0.1)
                layer.bias.data = torch.from_numpy(one.flatten()).float()
        self.margin, self.normalize = margin, normalize

    def embed(self, batch: Batch, generator: torch.Generator | None) -> torch.Tensor:
        """Embeddings (batch, 4096) of photos. With a generator the photos are augmented."""
        photos = to_batch(batch["photo"])
        if generator is not None:
            photos = augmentation.augment_photos(photos, generator)
        return self.network(self.normalize(photos)).float()

    def terms(self, batch: Batch, generator: torch.Generator | None) -> Terms:
        embedding = self.embed(batch, generator)
        terms = {}
        if generator is not None:  # people of the validation set are no classes
            logits, people = self.network.classify(embedding), batch["person"]
            logits = logits - self.margin * F.one_hot(people, logits.shape[1])
            terms["identity"] = F.cross_entropy(logits, people)
        traits = [losses.trait_loss(head(embedding), batch[trait]) for trait, head in self.heads.items()]
        if traits:
            terms["traits"] = torch.stack(traits).mean()
        if self.thumbnail is not None:  # both terms are about 1 for the mean face
            thumbnail, landmarks = self.thumbnail(embedding).float(), self.landmarks(embedding).float()
            error = (thumbnail - batch["portrait"].flatten(1)).square().nanmean() / 0.02  # NaN where it is unknown
            terms["portrait"] = error + (landmarks - batch["landmarks"].flatten(1)).square().mean() / 2
        terms = {name: term for name, term in terms.items() if name in self.loss_weights}
        return terms or {next(iter(self.loss_weights)): embedding.sum() * 0}

    def outputs(self, batch: Batch) -> dict[str, torch.Tensor]:
        return {"embedding": self.embed(batch, None), "person": batch["person"]}

    def metrics(self, outputs: dict[str, np.ndarray]) -> dict[str, float]:
        return {"R@1": recall_of_people(outputs["embedding"], outputs["person"], 1)}


def recall_of_people(embeddings: np.ndarray, people: np.ndarray, k: int) -> float:
    """Recall at k: the share of rows for which the first row of the same person is among the k nearest first rows.

    embeddings: (n, 4096). people: (n,). The queries are the rows that are not first, or all rows if there are none.
    """
    _, first, truth = np.unique(people, return_index=True, return_inverse=True)
    others = np.setdiff1d(np.arange(len(people)), first)
    queries = others if len(others) else first
    return float((ranks(embeddings[queries], embeddings[first], truth[queries]) <= k).mean())
