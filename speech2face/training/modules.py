"""What the Lightning modules of all trainings share: steps, learning rate, validation."""

import math
from collections.abc import Callable
from typing import Any

import lightning
import numpy as np
import torch
from torch import nn

from speech2face.errors import UserError

Batch = dict[str, Any]
Terms = dict[str, torch.Tensor]


class Training(lightning.LightningModule):
    """What all three trainings have in common.

    network: the part that is trained. loss_weights: of the terms of the loss; 0 switches a term off. frozen: networks
    that are used and not trained. head: name of the layer of `network` that alone is trained for `head_epochs` epochs;
    then all layers are, at `later_lr` times the rate. lr: the highest learning rate, reached by a linear rise over the
    share `warmup` of all steps; then it falls to 0 as a cosine (Loshchilov and Hutter, "SGDR", ICLR 2017).
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
        head: str = "",
        later_lr: float = 0.1,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.network = network.train().requires_grad_(True)
        self.loss_weights = {name: weight for name, weight in loss_weights.items() if weight}
        self.frozen = [frozen or {}]  # in a list: not to be registered, saved or trained
        self.optimizer, self.lr, self.warmup, self.seed = optimizer, lr, warmup, seed
        self.head_epochs, self.head, self.later_lr = head_epochs, head, later_lr
        self.collected: list[dict[str, torch.Tensor]] = []

    def use(self, name: str) -> nn.Module:
        """A frozen network."""
        return self.frozen[0][name]

    def terms(self, batch: Batch, generator: torch.Generator | None) -> Terms:
        """The terms of the loss, unweighted, of a batch; generator None: no augmentation."""
        raise NotImplementedError

    def outputs(self, batch: Batch) -> dict[str, torch.Tensor]:
        """Arrays of a validation batch that `metrics` needs, rows first."""
        raise NotImplementedError

    def metrics(self, outputs: dict[str, np.ndarray]) -> dict[str, float]:
        """Metrics of the whole validation set, from its outputs."""
        raise NotImplementedError

    def setup(self, stage: str) -> None:
        for network in self.frozen[0].values():
            network.to(self.device).eval().requires_grad_(False)

    def on_train_epoch_start(self) -> None:
        alone = self.current_epoch < self.head_epochs
        for name, parameter in self.network.named_parameters():
            parameter.requires_grad_(not alone or name.startswith(f"{self.head}."))

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
        terms["loss"] = sum(self.loss_weights[name] * term for name, term in terms.items())
        size = len(batch["row"])
        self.log_dict({f"val/{name}": term for name, term in terms.items()}, batch_size=size, sync_dist=True)
        self.collected.append(self.outputs(batch) | {"row": batch["row"]})

    def on_validation_epoch_end(self) -> None:
        names = self.collected[0]
        gathered = {name: self.all_gather(torch.cat([one[name] for one in self.collected])) for name in names}
        self.collected.clear()
        if self.trainer.world_size > 1:
            gathered = {name: tensor.flatten(0, 1) for name, tensor in gathered.items()}
        _, first = np.unique(gathered["row"].cpu().numpy(), return_index=True)  # shares are filled up with repeats
        arrays = {name: tensor.float().cpu().numpy()[first] for name, tensor in gathered.items()}
        self.log_dict({f"val/{name}": value for name, value in self.metrics(arrays).items()}, prog_bar=True)

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
