"""Recognisers in PyTorch as judges."""

import logging
from collections.abc import Sequence

import numpy as np

from speech2face.judges.base import Judge, Opinion, Portrait
from speech2face.weights.locate import locate
from speech2face.weights.part import Description, Part

log = logging.getLogger(__name__)
BATCH = 16


class Recogniser(Judge):
    """Portraits -> embeddings, and the probabilities of the people that the network was trained on.

    weights: a file, a hub id, or random. model: the network, which gives embeddings and logits (or None).
    preprocessing: the front end, which crops to the detected face. slot: for messages, such as judge.facenet.

    Raises UserError if there are no such weights, and on `load` if they are of another network.
    """

    def __init__(
        self, weights: str | None, model: Description, preprocessing: Description, slot: str = "judge"
    ) -> None:
        option = slot.rpartition(".")[2]
        self.part = Part(
            weights=weights, model=model, preprocessing=preprocessing, modality="face", slot=slot, option=option
        )
        self.located = locate(self.part)
        self.weights, self.digest = self.located.absolute, self.located.digest

    def load(self) -> None:
        """Read the network. Raises UserError if the file is damaged or of another network."""
        from speech2face.weights.load import load

        loaded = load(self.part, located=self.located)
        self.network, self.front_end = loaded.network, loaded.preprocessing
        if loaded.untrained:
            log.warning("%s.weights=random: UNTRAINED: what this judge says means nothing", self.part.slot)

    def __call__(self, portraits: Sequence[Portrait]) -> Opinion:
        """Look at n portraits, each cropped to its face."""
        import torch

        embeddings, probabilities = [], []
        with torch.inference_mode():
            for start in range(0, len(portraits), BATCH):
                part = portraits[start : start + BATCH]
                features = torch.cat([self.front_end(one.image, faces=[one.face]).features for one in part])
                embedding, logits = self.network(features)
                embeddings.append(embedding.numpy())
                if logits is not None:
                    probabilities.append(logits.softmax(1).numpy())
        return Opinion(np.concatenate(embeddings), np.concatenate(probabilities) if probabilities else None)
