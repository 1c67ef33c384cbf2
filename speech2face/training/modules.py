"""One Lightning module for each part: what it computes from a batch, what is minimised, and what is watched."""

import math
from collections.abc import Callable
from typing import Any

import lightning
import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from speech2face.errors import UserError
from speech2face.evaluation.retrieval import ranks
from speech2face.training import augmentation, losses

SIZE = 224
Batch = dict[str, Any]
Terms = dict[str, torch.Tensor]


class Training(lightning.LightningModule):
    """What all three have in common.

    network: the part that learns. weights: of the terms of the loss; 0 switches one off. frozen: networks that are
    used and do not learn. head: names of the layers of `network` that learn alone for `head_epochs` epochs; then all
    do, at `later_lr` times the rate. lr: at its highest, after a linear rise over `warmup` of all steps; then a cosine
    falls to 0 (Loshchilov and Hutter, "SGDR", 2017).
    """

    monitor, mode = "val/loss", "min"

    def __init__(
        self,
        network: nn.Module,
        weights: dict[str, float],
        frozen: dict[str, nn.Module] | None = None,
        optimizer: Callable[..., torch.optim.Optimizer] = torch.optim.AdamW,
        lr: float = 1e-3,
        warmup: float = 0.05,
        head_epochs: int = 0,
        head: tuple[str, ...] = (),
        later_lr: float = 0.1,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.network = network.train().requires_grad_(True)
        self.weights = {name: weight for name, weight in weights.items() if weight}
        self.frozen = [frozen or {}]  # in a list: not to be registered, saved or trained
        self.optimizer, self.lr, self.warmup, self.seed = optimizer, lr, warmup, seed
        self.head_epochs, self.head, self.later_lr = head_epochs, tuple(head), later_lr
        self.watched: list[dict[str, torch.Tensor]] = []

    def use(self, name: str) -> nn.Module:
        return self.frozen[0][name]

    def terms(self, batch: Batch, generator: torch.Generator | None) -> Terms:
        """The terms of the loss, unweighted, of a batch; generator None: no augmentation."""
        raise NotImplementedError

    def watch(self, batch: Batch) -> dict[str, torch.Tensor]:
        """What `figures` needs of a validation batch, rows first."""
        raise NotImplementedError

    def figures(self, watched: dict[str, np.ndarray]) -> dict[str, float]:
        """What is reported of the validation."""
        raise NotImplementedError

    def setup(self, stage: str) -> None:
        for network in self.frozen[0].values():
            network.to(self.device).eval().requires_grad_(False)

    def on_train_epoch_start(self) -> None:
        alone = self.current_epoch < self.head_epochs
        for name, parameter in self.network.named_parameters():
            parameter.requires_grad_(not alone or name.startswith(self.head))

    def training_step(self, batch: Batch, index: int) -> torch.Tensor:
        words = (self.seed, self.current_epoch, index, self.global_rank)
        seed = int(np.random.SeedSequence(words).generate_state(1, np.uint64)[0] >> 1)
        terms = self.terms(batch, torch.Generator(self.device).manual_seed(seed))
        loss = sum(self.weights[name] * term for name, term in terms.items())
        if not loss.isfinite():
            values = ", ".join(f"{name} {float(term):g}" for name, term in terms.items())
            rows = ", ".join(str(row) for row in batch["row"].tolist())
            raise UserError(
                f"the loss is {float(loss)} in epoch {self.current_epoch}, batch {index} ({values}; rows {rows}): "
                "stopped; weights of earlier epochs are kept. A lower training.lr or precision=fp32 may help"
            )
        self.log_dict({f"train/{name}": term.detach() for name, term in terms.items()}, sync_dist=True)
        self.log("loss", loss.detach(), prog_bar=True, logger=False)
        self.log("train/loss", loss.detach(), on_step=False, on_epoch=True, sync_dist=True)
        return loss

    def validation_step(self, batch: Batch, index: int) -> None:
        terms = self.terms(batch, None)
        terms["loss"] = sum(self.weights[name] * term for name, term in terms.items())
        size = len(batch["row"])
        self.log_dict({f"val/{name}": term for name, term in terms.items()}, batch_size=size, sync_dist=True)
        self.watched.append(self.watch(batch) | {"row": batch["row"]})

    def on_validation_epoch_end(self) -> None:
        names = self.watched[0]
        gathered = {name: self.all_gather(torch.cat([one[name] for one in self.watched])) for name in names}
        self.watched.clear()
        if self.trainer.world_size > 1:
            gathered = {name: tensor.flatten(0, 1) for name, tensor in gathered.items()}
        _, first = np.unique(gathered["row"].cpu().numpy(), return_index=True)  # shares are filled up with repeats
        arrays = {name: tensor.float().cpu().numpy()[first] for name, tensor in gathered.items()}
        self.log_dict({f"val/{name}": value for name, value in self.figures(arrays).items()}, prog_bar=True)

    def configure_optimizers(self) -> dict[str, Any]:
        groups: dict[bool, list[nn.Parameter]] = {True: [], False: []}
        for parameter in self.parameters():
            groups[parameter.ndim > 1].append(parameter)  # biases, norms and tokens do not decay
        optimizer = self.optimizer(
            [{"params": groups[True]}, {"params": groups[False], "weight_decay": 0.0}], lr=self.lr
        )
        steps = self.trainer.estimated_stepping_batches
        if not math.isfinite(steps):
            raise UserError("trainer.max_epochs or trainer.max_steps must say how long to train")
        alone = steps * self.head_epochs / self.trainer.max_epochs if self.head_epochs else 0

        def factor(step: int) -> float:
            rising = max(1.0, self.warmup * steps)
            cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, step / steps)))
            return min((step + 1) / rising, cosine) * (1 if step < alone or not alone else self.later_lr)

        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


class FaceTraining(Training):
    """Identity by a classification layer with a margin; beside it, what one linear layer each reads in the feature.

    Margin: Wang et al., "CosFace", CVPR 2018. Read are traits, and the normalized face, in small, with its landmarks:
    what makes up a face is known long before thousands of people are told apart. classes: by trait, how many (1: a
    number). portrait: mean normalized face (28, 28, 3) and landmarks (72, 2), where they are known.
    """

    monitor, mode = "val/R@1", "max"

    def __init__(
        self,
        *args: Any,
        classes: dict[str, int],
        margin: float,
        mean: Any,
        std: Any,
        portrait: tuple[np.ndarray, np.ndarray] | None,
        **options: Any,
    ) -> None:
        super().__init__(*args, **options)
        self.heads = nn.ModuleDict({trait: nn.Linear(4096, count) for trait, count in classes.items()})
        self.drawn = self.placed = None
        if portrait is not None and "portrait" in self.weights:
            self.drawn, self.placed = (nn.Linear(4096, one.size) for one in portrait)
            for layer, one in zip((self.drawn, self.placed), portrait, strict=True):
                layer.weight.data.mul_(0.1)
                layer.bias.data = torch.from_numpy(one.flatten()).float()
        self.margin = margin
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(3, 1, 1), persistent=False)

    def see(self, batch: Batch, generator: torch.Generator | None) -> torch.Tensor:
        photos = batch["photo"].permute(0, 3, 1, 2).float() / 255
        if generator is not None:
            photos = augmentation.seen(photos, generator)
        return self.network((photos - self.mean) / self.std).float()

    def terms(self, batch: Batch, generator: torch.Generator | None) -> Terms:
        feature = self.see(batch, generator)
        terms = {}
        if generator is not None:  # people of the validation have no class
            logits, people = self.network.classify(feature), batch["person"]
            logits = logits - self.margin * F.one_hot(people, logits.shape[1])
            terms["identity"] = F.cross_entropy(logits, people)
        traits = [losses.trait_loss(head(feature), batch[trait]) for trait, head in self.heads.items()]
        if traits:
            terms["traits"] = torch.stack(traits).mean()
        if self.drawn is not None:  # both about 1 for who knows nothing of a face
            drawn, placed = self.drawn(feature).float(), self.placed(feature).float()
            error = (drawn - batch["portrait"].flatten(1)).square().mean() / 0.02
            terms["portrait"] = error + (placed - batch["landmarks"].flatten(1)).square().mean() / 2
        terms = {name: term for name, term in terms.items() if name in self.weights}
        return terms or {next(iter(self.weights)): feature.sum() * 0}

    def watch(self, batch: Batch) -> dict[str, torch.Tensor]:
        return {"feature": self.see(batch, None), "person": batch["person"]}

    def figures(self, watched: dict[str, np.ndarray]) -> dict[str, float]:
        return {"R@1": retrieval(watched["feature"], watched["person"], 1)}


class DecoderTraining(Training):
    """Landmarks by squared distance, texture by absolute difference, identity through the face encoder.

    Cole et al., CVPR 2017, section 3.3. The texture is compared as it is before the warp, and after it too. What a
    voice encoder hears is no one person's face: there is no identity to be kept, and of the faces that it may belong
    to, the absolute difference finds the median, where squares would find a blur of all. What is heard of people who
    were not in the training lies between those who were: it is drawn as the nearer one, not as a face between a man's
    and a woman's. frozen: "face", the face encoder. see: pictures (batch, 3, 224, 224) in [0, 1] -> what that takes.
    """

    def __init__(self, *args: Any, see: Callable[[torch.Tensor], torch.Tensor], **options: Any) -> None:
        super().__init__(*args, **options)
        self.see = see

    def terms(self, batch: Batch, generator: torch.Generator | None) -> Terms:
        feature = batch["feature"] if generator is None else augmentation.between(batch, generator)
        landmarks, texture = self.network.aligned(feature)
        picture = batch["picture"].permute(0, 3, 1, 2).float() / 255
        terms = {"landmarks": (landmarks.float() - batch["landmarks"]).square().sum(2).mean()}
        if "texture" in self.weights:
            aligned = self.network.onto(batch["landmarks"], picture, back=True)
            terms["texture"] = F.l1_loss(texture.float(), aligned)
        if self.weights.keys() & {"picture", "identity"}:
            drawn = self.network.onto(landmarks, texture).float()
            terms["picture"] = F.l1_loss(drawn, picture)
        if "identity" in self.weights:
            seen = self.use("face")(self.see(drawn)).float()
            lost = 1 - F.cosine_similarity(seen, batch["feature"])
            terms["identity"] = (lost * batch["seen"]).sum() / batch["seen"].sum().clamp(min=1)
        return {name: term for name, term in terms.items() if name in self.weights}

    def watch(self, batch: Batch) -> dict[str, torch.Tensor]:
        landmarks, drawn = self.network(batch["feature"])
        picture = batch["picture"].permute(0, 3, 1, 2).float() / 255
        error = (drawn.float().clamp(0, 1) - picture).square().mean((1, 2, 3))
        away = (landmarks.float() - batch["landmarks"]).norm(dim=2).mean(1)
        return {"psnr_db": -10 * error.clamp(min=1e-10).log10(), "landmark_error_px": away}

    def figures(self, watched: dict[str, np.ndarray]) -> dict[str, float]:
        return {name: float(watched[name].mean()) for name in ("psnr_db", "landmark_error_px")}


class VoiceTraining(Training):
    """The face feature of the speaker: Oh et al., CVPR 2019, section 3.2, and a contrastive loss.

    Beside it, traits, of which one linear layer each reads in what the network's last linear layer sees: faces say
    little of a voice, and a network that begins with nothing finds pitch and formants sooner when it is told. classes:
    by trait, how many (1: a number). frozen: "layer", the decoder's first; "face", whose `classify` is the
    classification layer.
    """

    temperature = 0.1

    def __init__(self, *args: Any, classes: dict[str, int], **options: Any) -> None:
        super().__init__(*args, **options)
        if "traits" in self.weights:
            last = [layer for layer in self.network.modules() if isinstance(layer, nn.Linear)][-1]
            self.heads = nn.ModuleDict({trait: nn.Linear(last.in_features, n) for trait, n in classes.items()})
            last.register_forward_pre_hook(self.keep)

    def keep(self, _: nn.Module, inputs: tuple[torch.Tensor]) -> None:
        self.heard = inputs[0]

    def terms(self, batch: Batch, generator: torch.Generator | None) -> Terms:
        predicted, true = self.network(batch["features"]).float(), batch["face"]
        terms = {}
        if "traits" in self.weights:
            read = {trait: head(self.heard).float() for trait, head in self.heads.items()}
            terms["traits"] = torch.stack([losses.trait_loss(read[trait], batch[trait]) for trait in read]).mean()
        if "normalized" in self.weights:
            terms["normalized"] = losses.normalized_distance(predicted, true)
        if "length" in self.weights:
            terms["length"] = losses.length(predicted, true)
        if "layer" in self.weights:
            layer = self.use("layer")
            terms["layer"] = losses.layer_distance(layer(predicted).float(), layer(true).float())
        if "distillation" in self.weights:
            classify = self.use("face").classify
            terms["distillation"] = losses.distillation(classify(predicted).float(), classify(true).float())
        if "contrastive" in self.weights:
            terms["contrastive"] = losses.contrastive(predicted, true, batch["person"], self.temperature)
        return terms

    def watch(self, batch: Batch) -> dict[str, torch.Tensor]:
        return {"predicted": self.network(batch["features"]), "face": batch["face"], "person": batch["person"]}

    def figures(self, watched: dict[str, np.ndarray]) -> dict[str, float]:
        _, first, truth = np.unique(watched["person"], return_index=True, return_inverse=True)
        found = ranks(watched["predicted"], watched["face"][first], truth)
        same = F.cosine_similarity(torch.from_numpy(watched["predicted"]), torch.from_numpy(watched["face"]))
        return {
            "R@10": float((found <= 10).mean()),
            "median_rank": float(np.median(found)),
            "cosine": float(same.mean()),
        }


def retrieval(features: np.ndarray, people: np.ndarray, k: int) -> float:
    """Recall at k: the share of rows whose person's first row is among the k nearest of everybody's first rows."""
    _, first, truth = np.unique(people, return_index=True, return_inverse=True)
    others = np.setdiff1d(np.arange(len(people)), first)
    asked = others if len(others) else first
    return float((ranks(features[asked], features[first], truth[asked]) <= k).mean())
