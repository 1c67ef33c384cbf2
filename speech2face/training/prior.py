"""Training of a prior: flow matching from embeddings of voices to embeddings of faces."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from speech2face.encoders.base import EncoderNetwork
from speech2face.priors.scores import energy_score
from speech2face.training.mixture import Shuffled
from speech2face.training.modules import Batch, Terms, Training

DRAWN = 16  # faces per voice for the energy score
FITTED = 5000  # pairs for the model in closed form
BATCH = 64


class PriorTraining(Training):
    """Trains a prior by conditional flow matching (Lipman et al., ICLR 2023), on a voice and a face at a time.

    The metric `energy` is the energy score of the drawn embeddings against that of the paired face (Gneiting and
    Raftery, JASA 2007, equation 21); `energy_ratio` is its ratio to the distance of the voice's own embedding, which is
    the energy score of a single guess. Smaller is better; in many dimensions an exact sampler reaches 0.71.

    network: a prior. noise, dropped: see speech2face.priors.flow.FlowPrior.loss.
    frozen: "encoder", the voice encoder, an EncoderNetwork if the rows hold what its trunk made of the recordings.
    """

    def __init__(self, *args: Any, noise: float, dropped: float, **options: Any) -> None:
        super().__init__(*args, **options)
        self.noise, self.dropped = noise, dropped

    def on_validation_epoch_start(self) -> None:
        self.network.match()

    def terms(self, batch: Batch, generator: torch.Generator | None) -> Terms:
        voices, noise, dropped = hear(self.use("encoder"), batch), self.noise, self.dropped
        if generator is None:  # validation: the same noise in every epoch
            generator = torch.Generator(self.device).manual_seed(int(batch["row"][0]))
            noise, dropped = 0.0, 0.0
        return {"flow": self.network.loss(voices, batch["face"], generator, noise, dropped).mean()}

    def outputs(self, batch: Batch) -> dict[str, torch.Tensor]:
        voices = hear(self.use("encoder"), batch)
        generators = [torch.Generator(self.device).manual_seed(row) for row in batch["row"].tolist()]
        drawn, _ = self.network.sample(voices, DRAWN, generators)
        return {
            "energy": energy_score(drawn, batch["face"]),
            "single": (voices - batch["face"]).norm(dim=1),
        }

    def metrics(self, outputs: dict[str, np.ndarray]) -> dict[str, float]:
        energy, single = float(outputs["energy"].mean()), float(outputs["single"].mean())
        return {"energy": energy, "energy_ratio": energy / max(single, 1e-9)}


def hear(encoder: torch.nn.Module, batch: Batch) -> torch.Tensor:
    """Embeddings (batch, 4096) of features, or of what the trunk made of them."""
    with torch.no_grad():
        if "trunk" in batch:
            assert isinstance(encoder, EncoderNetwork)
            return encoder.finish(batch["trunk"]).float()
        return encoder(batch["features"]).float()


@torch.no_grad()
def fit_prior(network: torch.nn.Module, encoder: torch.nn.Module, rows: Dataset, seed: int, balanced: bool) -> None:
    """Compute in closed form what the prior can compute so (its method `fit`), from pairs drawn as in the training.

    encoder: of the voices. rows: as those of PriorTraining.
    """

    def items() -> Iterator[tuple[int, int]]:
        sampler = Shuffled(len(rows), seed, starts=rows.starts if balanced else None, parts=getattr(rows, "parts", ()))
        for epoch in range(-(-FITTED // len(rows))):
            sampler.set_epoch(epoch)
            yield from sampler

    loader = DataLoader(rows, BATCH, sampler=list(items()), generator=torch.Generator())
    pairs = [(hear(encoder, batch), batch["face"]) for batch in loader]
    network.fit(*(torch.cat(one).numpy() for one in zip(*pairs, strict=True)))
