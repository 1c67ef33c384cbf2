"""Training of a voice encoder: loss terms and metrics."""

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from speech2face.evaluation.retrieval import ranks
from speech2face.training import losses
from speech2face.training.modules import Batch, Terms, Training

FACE_TERMS = ("normalized", "length", "layer", "distillation", "contrastive")  # of people with a photo


class VoiceTraining(Training):
    """Trains a voice encoder to predict the embedding of a photo of the speaker.

    normalized, layer, distillation: the loss terms of Oh et al., CVPR 2019, section 3.2. length, contrastive,
        squared: see speech2face.training.losses.
    traits: linear layers predict each trait from the input of the network's head. Faces determine little of a voice,
        and a network with random weights finds pitch and formants sooner with this term.
    consistency: the embeddings of two recordings of a speaker, or of two windows of the only one, agree.
    People without a photo take part in traits and consistency only.

    network: an EncoderNetwork. classes: number of classes of each trait; 1: the trait is a number.
    frozen: "layer", the decoder's first layer; "face", the face encoder, for its `classify`.
    """

    temperature = 0.1

    def __init__(self, *args: Any, classes: dict[str, int], **options: Any) -> None:
        super().__init__(*args, **options)
        if "traits" in self.loss_weights:
            head = self.network.head_layer
            self.heads = nn.ModuleDict({trait: nn.Linear(head.in_features, n) for trait, n in classes.items()})
            head.register_forward_pre_hook(self._keep)

    def _keep(self, _: nn.Module, inputs: tuple[torch.Tensor]) -> None:
        self.before_head = inputs[0]

    def embed(self, batch: Batch) -> torch.Tensor:
        """Embeddings (batch, 4096) of features, or of what the trunk made of them."""
        if "trunk" in batch:
            return self.network.finish(batch["trunk"]).float()
        return self.network(batch["features"]).float()

    def terms(self, batch: Batch, generator: torch.Generator | None) -> Terms:
        predicted, terms = self.embed(batch), {}
        if "traits" in self.loss_weights:
            traits = {trait: head(self.before_head).float() for trait, head in self.heads.items()}
            terms["traits"] = torch.stack([losses.trait_loss(traits[name], batch[name]) for name in traits]).mean()
        if "consistency" in self.loss_weights and "second" in batch:
            other = self.embed({"trunk" if "trunk" in batch else "features": batch["second"]})
            terms["consistency"] = losses.normalized_distance(predicted, other)
        known = batch.get("has_face", torch.ones(len(predicted), dtype=torch.bool, device=predicted.device))
        if not known.any():
            return terms or {next(iter(self.loss_weights)): predicted.sum() * 0}
        return terms | self.face_terms(predicted[known], batch["face"][known], batch["person"][known])

    def face_terms(self, predicted: torch.Tensor, true: torch.Tensor, people: torch.Tensor) -> Terms:
        """The terms that compare embeddings of voices with those of photos, both (n, 4096). people: (n,)."""
        terms = {}
        if "normalized" in self.loss_weights:
            terms["normalized"] = losses.normalized_distance(predicted, true)
        if "length" in self.loss_weights:
            terms["length"] = losses.length(predicted, true)
        if "squared" in self.loss_weights:
            terms["squared"] = losses.squared_distance(predicted, true)
        if "layer" in self.loss_weights:
            layer = self.use("layer")
            terms["layer"] = losses.layer_distance(layer(predicted).float(), layer(true).float())
        if "distillation" in self.loss_weights:
            classify = self.use("face").classify
            terms["distillation"] = losses.distillation(classify(predicted).float(), classify(true).float())
        if "contrastive" in self.loss_weights:
            terms["contrastive"] = losses.contrastive(predicted, true, people, self.temperature)
        return terms

    def outputs(self, batch: Batch) -> dict[str, torch.Tensor]:
        return {"predicted": self.embed(batch)} | {name: batch[name] for name in ("face", "has_face", "person")}

    def sizes(self, batch: Batch) -> dict[str, int]:
        return dict.fromkeys(FACE_TERMS, int(batch["has_face"].sum()))

    def metrics(self, outputs: dict[str, np.ndarray]) -> dict[str, float]:
        known = outputs["has_face"].astype(bool)
        outputs = {name: array[known] for name, array in outputs.items()}
        _, first, truth = np.unique(outputs["person"], return_index=True, return_inverse=True)
        found = ranks(outputs["predicted"], outputs["face"][first], truth)
        same = F.cosine_similarity(torch.from_numpy(outputs["predicted"]), torch.from_numpy(outputs["face"]))
        return {
            "R@10": float((found <= 10).mean()),
            "median_rank": float(np.median(found)),
            "cosine": float(same.mean()),
        }
