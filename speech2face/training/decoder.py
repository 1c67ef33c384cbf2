"""Training of a decoder: loss terms and metrics."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from speech2face.preprocessing.image import to_batch
from speech2face.training import augmentation
from speech2face.training.modules import Batch, Terms, Training


class DecoderTraining(Training):
    """Trains a decoder with the loss terms of Cole et al., CVPR 2017, section 3.3.

    landmarks: squared distance. texture, picture: absolute difference of the texture before and after the warp.
    identity: cosine distance between the embedding of the decoded face and the original embedding.

    An embedding of a voice does not determine an identity, so the identity term leaves it out. For such an embedding
    the absolute difference yields the median of the faces that the voice may belong to; a squared difference would
    blur them all. Embeddings of voices outside the training set lie between those inside, so embeddings are also mixed,
    and a mixture has the face of the nearer one (augmentation.mix_voices).

    Pixels of the picture that are unknown (mask 0, outside the photo) weigh nothing in texture, picture and PSNR.

    frozen: "face", the face encoder. normalize: images (batch, 3, 224, 224) in [0, 1] -> the face encoder's input.
    """

    def __init__(self, *args: Any, normalize: Callable[[torch.Tensor], torch.Tensor], **options: Any) -> None:
        super().__init__(*args, **options)
        self.normalize = normalize

    def terms(self, batch: Batch, generator: torch.Generator | None) -> Terms:
        embedding = batch["embedding"] if generator is None else augmentation.mix_voices(batch, generator)
        landmarks, texture = self.network.aligned(embedding)
        known = _known(batch)
        picture = to_batch(batch["picture"]) * known
        terms = {"landmarks": (landmarks.float() - batch["landmarks"]).square().sum(2).mean()}
        if "texture" in self.loss_weights:
            aligned = self.network.onto(batch["landmarks"], picture, back=True)
            # A pixel of the warped picture is known if all that it is interpolated from is.
            seen = self.network.onto(batch["landmarks"], known, back=True) > 0.999
            terms["texture"] = _mean((texture.float() - aligned).abs(), seen.float())
        if self.loss_weights.keys() & {"picture", "identity"}:
            drawn = self.network.onto(landmarks, texture).float()
            terms["picture"] = _mean((drawn - picture).abs(), known)
        if "identity" in self.loss_weights:
            encoded = self.use("face")(self.normalize(drawn)).float()
            lost = 1 - F.cosine_similarity(encoded, batch["embedding"])
            terms["identity"] = (lost * batch["from_photo"]).sum() / batch["from_photo"].sum().clamp(min=1)
        return {name: term for name, term in terms.items() if name in self.loss_weights}

    def outputs(self, batch: Batch) -> dict[str, torch.Tensor]:
        landmarks, drawn = self.network(batch["embedding"])
        squared = (drawn.float().clamp(0, 1) - to_batch(batch["picture"])).square().mean(1, keepdim=True)
        known = _known(batch)
        error = (squared * known).sum((1, 2, 3)) / known.sum((1, 2, 3)).clamp(min=1)
        away = (landmarks.float() - batch["landmarks"]).norm(dim=2).mean(1)
        return {"psnr_db": -10 * error.clamp(min=1e-10).log10(), "landmark_error_px": away}

    def metrics(self, outputs: dict[str, np.ndarray]) -> dict[str, float]:
        return {name: float(outputs[name].mean()) for name in ("psnr_db", "landmark_error_px")}


def _known(batch: Batch) -> torch.Tensor:
    """(batch, 1, height, width): 1.0 where the pixel of the picture is known."""
    return (batch["mask"] > 0)[:, None].float()


def _mean(values: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Mean of values (batch, channels, height, width) with weights (batch, 1, height, width)."""
    weights = weights.expand_as(values)
    return (values * weights).sum() / weights.sum().clamp(min=1)
