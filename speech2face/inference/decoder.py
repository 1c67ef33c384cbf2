"""Embeddings -> faces."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
from torch import nn

from speech2face.errors import UserError
from speech2face.inference.device import OnDevice
from speech2face.inference.encoder import NOT_FINITE

MEASURED = 512  # faces of one voice, and of random voices, whose spread is compared


@dataclass
class Face:
    """A decoded face.

    image: (height, width, 3) uint8 RGB, truncated from [0, 1] * 255 as the published implementation does.
    landmarks: (72, 2) float32 as x, y in pixels of the image, or None.
    score: likelihood of a sample, if the prior or the decoder gives one. embedding: (4096,) float32 that a prior drew.
    """

    image: np.ndarray
    landmarks: np.ndarray | None = None
    score: float | None = None
    embedding: np.ndarray | None = None


@dataclass
class Faces:
    """The faces of one embedding: the most typical one, and samples of the other faces that it may belong to.

    heard: by attribute, the share of its variance in the population that the voice fixes, if a prior drew the samples
    (Prior.heard).
    """

    typical: Face
    samples: list[Face]
    heard: dict[str, float] = field(default_factory=dict)

    @property
    def image(self) -> np.ndarray:
        """The most typical face, (height, width, 3) uint8 RGB."""
        return self.typical.image

    @property
    def landmarks(self) -> np.ndarray | None:
        """Landmarks (72, 2) of the most typical face, or None."""
        return self.typical.landmarks


def to_pixels(texture: torch.Tensor) -> torch.Tensor:
    """(..., 3, height, width) in [0, 1] -> (..., height, width, 3) uint8, truncated as published."""
    return (texture.clamp(0, 1) * 255).to(torch.uint8).movedim(-3, -1)


def faces_of(landmarks: torch.Tensor | None, images: torch.Tensor) -> list[Face]:
    """Landmarks (batch, 72, 2) or None, images (batch, 3, height, width) in [0, 1] -> a face of each."""
    points = [None] * len(images) if landmarks is None else landmarks.float().cpu().numpy()
    return [Face(*one) for one in zip(to_pixels(images.float()).cpu().numpy(), points, strict=True)]


@dataclass
class Prior:
    """A network that draws the embeddings of faces that a voice may belong to, and how it draws them.

    guidance, steps, truncation: see speech2face.priors.flow.FlowPrior.sample.
    """

    network: nn.Module
    guidance: float = 1.0
    steps: int = 8
    truncation: float = 1.0

    def __call__(
        self, embedding: torch.Tensor, count: int, generator: torch.Generator
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Embedding of a voice (4096,) -> embeddings of faces (count, 4096), scores (count,)."""
        faces, scores = self.network.sample(embedding[None], count, [generator], **self.how)
        return faces[0], scores[0]

    @property
    def how(self) -> dict[str, float]:
        """Options of the network's `sample`."""
        return {"guidance": self.guidance, "steps": self.steps, "truncation": self.truncation}

    def heard(self, embedding: torch.Tensor, generator: torch.Generator) -> dict[str, float]:
        """By trait, the share of its variance in the population that a voice (4096,) fixes: 1 wholly, 0 not at all."""
        faces, _ = self.network.sample(embedding[None], MEASURED, [generator])
        own = self.network.read(faces[0])
        return {name: float((1 - own[name].var() / everywhere.var()).clamp(0, 1)) for name, everywhere in self.spread}

    @cached_property
    def spread(self) -> list[tuple[str, torch.Tensor]]:
        """The traits of faces of random voices, (MEASURED,) by name."""
        generator = torch.Generator(self.network.mean.device).manual_seed(0)
        return list(self.network.read(self.network.population(MEASURED, generator)).items())


class Decoder(OnDevice):
    """Network, device and precision -> faces.

    network: a speech2face.decoders.base.DecoderNetwork. samples: number of samples of each embedding.
    seed: of the samples. Each embedding has its own generator, so its samples do not depend on other inputs.
    prior: draws the embeddings of the samples. A decoder that draws samples itself does without.

    Raises UserError for a device or precision that is not possible, and for samples of a decoder that draws none.
    """

    def __init__(
        self, network: nn.Module, device: str = "auto", precision: str = "auto", samples: int = 0, seed: int = 0,
        prior: Prior | None = None,
    ) -> None:  # fmt: skip
        if samples and not prior and not getattr(network, "draws_samples", False):
            raise UserError(f"samples={samples}: {type(network).__name__} draws one face only; leave samples= out")
        super().__init__(network, device, precision)
        self.samples, self.seed = samples, seed
        self.prior = None if getattr(network, "draws_samples", False) else prior
        if self.prior:
            self.prior.network.to(self.device)

    @torch.inference_mode()
    def decode(self, embeddings: torch.Tensor) -> tuple[torch.Tensor | None, torch.Tensor]:
        """(batch, 4096) -> landmarks (batch, 72, 2) in pixels or None, images (batch, 3, height, width) in [0, 1]."""
        with self.autocast():
            landmarks, images = self.network(embeddings.to(self.device))
        return None if landmarks is None else landmarks.float(), images.float()

    def __call__(self, embeddings: torch.Tensor | np.ndarray, keys: Sequence[bytes] | None = None) -> list[Faces]:
        """Embeddings (batch, 4096) -> the faces of each.

        keys: one per input; with the seed it determines the input's samples. None: the bytes of the embedding.
        Raises ValueError if an embedding or a face is not finite.
        """
        embeddings = torch.as_tensor(embeddings)
        landmarks, images = self.decode(embeddings)
        if not all(bool(one.isfinite().all()) for one in (embeddings, landmarks, images) if one is not None):
            raise ValueError(NOT_FINITE)
        typical = faces_of(landmarks, images)
        samples = self._sample(embeddings, keys) if self.samples else [([], {}) for _ in typical]
        samples, shares = zip(*samples, strict=True)
        return [Faces(*one) for one in zip(typical, samples, shares, strict=True)]

    @torch.inference_mode()
    def _sample(
        self, embeddings: torch.Tensor, keys: Sequence[bytes] | None
    ) -> list[tuple[list[Face], dict[str, float]]]:
        keys = keys or [one.tobytes() for one in embeddings.float().cpu().numpy()]
        generators = [torch.Generator(self.device).manual_seed(self._seed(key)) for key in keys]
        if self.prior:
            return [self._draw(*one) for one in zip(embeddings.to(self.device), generators, strict=True)]
        with self.autocast():
            landmarks, images, scores = self.network.sample(embeddings.to(self.device), self.samples, generators)
        pixels = to_pixels(images.float()).cpu().numpy()
        faces = [
            [
                Face(
                    pixels[i, k],
                    None if landmarks is None else landmarks[i, k].float().cpu().numpy(),
                    None if scores is None else float(scores[i, k]),
                )
                for k in range(self.samples)
            ]
            for i in range(len(pixels))
        ]
        return [(one, {}) for one in faces]

    def _draw(self, embedding: torch.Tensor, generator: torch.Generator) -> tuple[list[Face], dict[str, float]]:
        """The samples of one embedding (4096,), and what the voice fixes. No other input of the batch matters."""
        embeddings, scores = self.prior(embedding, self.samples, generator)
        faces = self.detailed(embeddings)
        for face, score, own in zip(faces, scores.tolist(), embeddings.cpu().numpy(), strict=True):
            face.score, face.embedding = score, own
        return faces, self.prior.heard(embedding, generator)

    @torch.inference_mode()
    def detailed(self, embeddings: torch.Tensor | np.ndarray) -> list[Face]:
        """Embeddings (batch, 4096), each of one face and not the mean of several -> their faces, with more detail."""
        with self.autocast():
            landmarks, images = self.network.detailed(torch.as_tensor(embeddings).to(self.device))
        return faces_of(landmarks, images)

    def _seed(self, key: bytes) -> int:
        digest = hashlib.sha256(str(self.seed).encode() + b" " + key).digest()
        return int.from_bytes(digest[:8], "big") >> 1
