"""Base class of the Lightning modules of all trainings: steps, learning rate, validation."""

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import lightning
import numpy as np
import torch
from torch import nn

from speech2face.errors import UserError

if TYPE_CHECKING:
    from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig

Batch = dict[str, torch.Tensor]
Terms = dict[str, torch.Tensor]


class Training(lightning.LightningModule):
    """Base class of the three trainings. A subclass defines loss terms, outputs and metrics.

    network: the part that is trained. loss_weights: by loss term; 0 switches a term off.
    frozen: networks that are used but not trained, by name. optimizer: class with its arguments, except parameters
        and lr.
    lr: the highest learning rate. It is reached by a linear rise over the share `warmup` of all steps, and then falls
        to 0 as a cosine (Loshchilov and Hutter, "SGDR", ICLR 2017).
    learns: what of an EncoderNetwork is trained, as its method `learn` takes it. In the first `head_epochs` epochs that
        is the head alone. Afterwards the learning rate is multiplied by `later_lr`.
    """

    monitor, mode = "val/loss", "min"

    def __init__(
        self,
        network: nn.Module,
        loss_weights: dict[str, float],
        frozen: dict[str, nn.Module] | None = None,
        optimizer: Callable[..., torch.optim.Optimizer] = torch.optim.AdamW,
        lr: float = 1e-3,
        warmup: float = 0.05,
        head_epochs: int = 0,
        learns: str = "all",
        later_lr: float = 0.1,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.network = network.train().requires_grad_(True)
        if learns != "all":
            network.learn(learns)
        self.loss_weights = {name: weight for name, weight in loss_weights.items() if weight}
        self.frozen = [frozen or {}]  # in a list, so that Lightning does not register them
        self.optimizer, self.lr, self.warmup, self.seed = optimizer, lr, warmup, seed
        self.head_epochs, self.learns, self.later_lr = head_epochs, learns, later_lr
        self.collected: list[dict[str, torch.Tensor]] = []

    def use(self, name: str) -> nn.Module:
        """A frozen network by name."""
        return self.frozen[0][name]

    def terms(self, batch: Batch, generator: torch.Generator | None) -> Terms:
        """The unweighted loss terms of a batch. generator: of the augmentation; None: no augmentation."""
        raise NotImplementedError

    def sizes(self, batch: Batch) -> dict[str, int]:
        """Number of rows that a loss term is a mean over, for terms that leave out rows of a batch."""
        return {}

    def outputs(self, batch: Batch) -> dict[str, torch.Tensor]:
        """The outputs of a validation batch that `metrics` needs. The first axis is the batch."""
        raise NotImplementedError

    def metrics(self, outputs: dict[str, np.ndarray]) -> dict[str, float]:
        """The metrics of the whole validation set. outputs: of all its rows."""
        raise NotImplementedError

    def setup(self, stage: str) -> None:
        for network in self.frozen[0].values():
            network.to(self.device).eval().requires_grad_(False)

    def on_train_epoch_start(self) -> None:
        learns = "head" if self.current_epoch < self.head_epochs else self.learns
        if learns != "all" or self.head_epochs:
            self.network.learn(learns)

    def training_step(self, batch: Batch, index: int) -> torch.Tensor:
        words = (self.seed, self.current_epoch, index, self.global_rank)
        seed = int(np.random.SeedSequence(words).generate_state(1, np.uint64)[0] >> 1)
        terms = self.terms(batch, torch.Generator(self.device).manual_seed(seed))
        loss = sum(self.loss_weights[name] * term for name, term in terms.items())
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
        size = len(batch["row"])
        sizes = dict.fromkeys(terms, size) | self.sizes(batch)
        loss = sum(self.loss_weights[name] * term * sizes[name] / size for name, term in terms.items())
        self.log("val/loss", loss, batch_size=size, sync_dist=True)
        for name, term in terms.items():
            self.log(f"val/{name}", term, batch_size=sizes[name], sync_dist=True)
        self.collected.append(self.outputs(batch) | {"row": batch["row"]})

    def on_validation_epoch_end(self) -> None:
        names = self.collected[0]
        gathered = {name: self.all_gather(torch.cat([one[name] for one in self.collected])) for name in names}
        self.collected.clear()
        if self.trainer.world_size > 1:
            gathered = {name: tensor.flatten(0, 1) for name, tensor in gathered.items()}
        _, first = np.unique(gathered["row"].cpu().numpy(), return_index=True)  # the shares of processes repeat rows
        arrays = {name: tensor.float().cpu().numpy()[first] for name, tensor in gathered.items()}
        self.log_dict({f"val/{name}": value for name, value in self.metrics(arrays).items()}, prog_bar=True)

    def configure_optimizers(self) -> "OptimizerLRSchedulerConfig":
        groups: dict[bool, list[nn.Parameter]] = {True: [], False: []}
        for parameter in self.parameters():
            groups[parameter.ndim > 1].append(parameter)  # no weight decay for biases, norms and tokens
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
