"""The training loop: Lightning's trainer, with checkpoints for resuming, weights for use, and sheets of pictures."""

import logging
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import EarlyStopping, LearningRateMonitor, ModelCheckpoint, TQDMProgressBar
from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from speech2face.errors import UserError
from speech2face.files import leave_to_parent
from speech2face.inference.device import resolve_precision
from speech2face.training.callbacks import Averaging, Interrupts, Keep, Refresh
from speech2face.training.mixture import Shuffled
from speech2face.training.modules import Training

log = logging.getLogger(__name__)
PRECISIONS = {"fp32": "32-true", "bf16": "bf16-mixed", "fp16": "16-mixed"}


@dataclass
class Settings:
    """The settings of a training.

    directory: of the run. trainer: arguments of lightning.Trainer.
    loggers: of the metrics of every step and the pictures of every epoch.
    device, precision: of the run. patience: epochs without a better validation metric before the training stops.
    ema, average_from: averages of the weights, see Averaging; None: none.
    checkpoint: to continue from; None: start at the beginning.
    """

    directory: Path
    trainer: dict[str, Any]
    loggers: Sequence[Logger] = ()
    device: str = "auto"
    precision: str = "fp32"
    patience: int | None = None
    ema: float | None = None
    average_from: int | None = None
    checkpoint: Path | None = None


class Data(lightning.LightningDataModule):
    """The data loaders of training and validation. Each of several processes gets an equal share of the rows.

    workers: processes that read batches. balanced: an epoch has equally many rows of each person. repeat: every epoch
    has the same rows in the same order, with the same augmentation.
    """

    def __init__(
        self,
        train: Dataset,
        val: Dataset,
        batch_size: int,
        workers: int,
        seed: int,
        balanced: bool = False,
        repeat: bool = False,
    ) -> None:
        super().__init__()
        self.balanced, self.repeat = balanced, repeat
        self.sets = {"train": train, "val": val}
        self.batch_size, self.workers, self.seed = batch_size, workers, seed
        self.epoch = 0  # kept here: Lightning asks for the first batch before it restores its own epoch

    def state_dict(self) -> dict[str, int]:
        return {"epoch": self.trainer.current_epoch + 1}  # a checkpoint is written at the end of an epoch

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.epoch = state["epoch"]

    def _loader(self, name: str) -> DataLoader:
        rows, train = self.sets[name], name == "train"
        starts = rows.starts if train and self.balanced else None
        share = self.trainer.global_rank, self.trainer.world_size
        parts = getattr(rows, "parts", ())
        sampler = Shuffled(len(rows), self.seed, *share, shuffle=train, starts=starts, parts=parts, repeat=self.repeat)
        sampler.set_epoch(self.epoch)
        workers = 0 if getattr(rows, "cached", None) else self.workers  # handing such a row over takes twice its time
        return DataLoader(
            rows,
            self.batch_size,
            sampler=sampler,
            num_workers=workers,
            drop_last=train and len(sampler) > self.batch_size,
            persistent_workers=workers > 0,
            multiprocessing_context="fork" if workers else None,
            worker_init_fn=leave_to_parent,
            pin_memory=self.trainer.strategy.root_device.type == "cuda",
        )

    def train_dataloader(self) -> DataLoader:
        return self._loader("train")

    def val_dataloader(self) -> DataLoader:
        return self._loader("val")


def training_precision(precision: str, trainer: dict[str, Any], device: str) -> str:
    """Resolve a precision for the device on which Lightning will train (see resolve_precision).

    trainer: arguments of lightning.Trainer. device: of the run.
    """
    accelerator = trainer.get("accelerator", "auto")
    on_gpu = accelerator in ("gpu", "cuda") or (accelerator == "auto" and device != "cpu")
    return resolve_precision(precision, torch.device("cuda" if on_gpu and torch.cuda.is_available() else "cpu"))


def fit(
    module: Training,
    data: Data,
    settings: Settings,
    card: dict[str, Any],
    draw: Callable[[Training], Image.Image],
) -> dict[str, float]:
    """Train a module. Returns its metrics.

    These are the validation metrics of the last epoch (val/...) and the best value of the metric that selects the
    weights (best/...); none if nothing was left to train. card, draw: see Keep. Raises UserError for wrong arguments of
    the trainer and for data that cannot be read, and KeyboardInterrupt.
    """
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", module="lightning")
    checkpoints = settings.directory / "checkpoints"
    best = ModelCheckpoint(checkpoints, "best", monitor=module.monitor, mode=module.mode, enable_version_counter=False)
    last = ModelCheckpoint(checkpoints, "last", enable_version_counter=False)  # save_last=True leaves out worse epochs
    callbacks = [TQDMProgressBar(refresh_rate=10), Interrupts(), Keep(settings.directory, card, draw), best, last]
    if settings.loggers:
        callbacks.append(LearningRateMonitor("step"))
    if settings.ema is not None or settings.average_from is not None:
        callbacks.append(Averaging(settings.ema, settings.average_from or 0))  # behind Keep, which writes the averages
    if settings.checkpoint:
        callbacks.append(Refresh(settings.patience))
    if settings.patience:
        stopping = EarlyStopping(module.monitor, mode=module.mode, patience=settings.patience, check_finite=False)
        callbacks.append(stopping)
    options = dict(settings.trainer)
    if options.get("accelerator", "auto") == "auto" and settings.device != "auto":
        kind, _, number = settings.device.partition(":")
        options["accelerator"] = {"cuda": "gpu"}.get(kind, kind)
        options["devices"] = [int(number)] if number else options.get("devices", 1)
    if options.get("strategy") == "ddp" and module.head_epochs:
        options["strategy"] = "ddp_find_unused_parameters_true"
    if count := options.pop("overfit_batches", 0):  # Lightning would replace the sampler, which draws the epoch, too
        options["limit_train_batches"] = count
    options["precision"] = PRECISIONS[settings.precision]
    try:
        loop = lightning.Trainer(
            **options,
            callbacks=callbacks,
            logger=list(settings.loggers),
            default_root_dir=settings.directory,
            use_distributed_sampler=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
        )
    except (MisconfigurationException, ModuleNotFoundError, RuntimeError, TypeError, ValueError) as error:
        raise UserError(f"trainer: {' '.join(str(error).split())}") from None
    try:
        if options.get("max_epochs") == 0:
            loop.validate(module, data, verbose=False)
        else:
            loop.fit(module, data, ckpt_path=settings.checkpoint, weights_only=True)
    except SystemExit:  # Lightning turns an interrupt into SystemExit
        raise KeyboardInterrupt from None
    except UserError as error:  # one of a worker process comes with its traceback as text
        raise UserError(str(error).strip().splitlines()[-1].removeprefix("speech2face.errors.UserError: ")) from None
    metrics = {name: float(value) for name, value in loop.callback_metrics.items() if name.startswith("val/")}
    if metrics and best.best_model_score is not None:
        metrics[f"best/{module.monitor.removeprefix('val/')}"] = float(best.best_model_score)
    return metrics
