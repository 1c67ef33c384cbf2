"""The training loop: Lightning's trainer, with checkpoints for resuming, weights for use, and sheets of pictures."""

import logging
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning
import torch
from hydra.utils import instantiate
from lightning.pytorch.callbacks import EarlyStopping, LearningRateMonitor, ModelCheckpoint, TQDMProgressBar
from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from speech2face.errors import UserError
from speech2face.files import leave_to_parent
from speech2face.inference.device import resolve_precision
from speech2face.training.callbacks import Interrupts, Keep, Refresh
from speech2face.training.mixture import Shuffled
from speech2face.training.modules import Training
from speech2face.weights.part import Description

log = logging.getLogger(__name__)
PRECISIONS = {"fp32": "32-true", "bf16": "bf16-mixed", "fp16": "16-mixed"}


@dataclass
class Settings:
    """The settings of a training.

    directory: of the run. trainer: arguments of lightning.Trainer.
    loggers: class (_target_) and arguments by name; a save_dir of None means `directory`.
    device, precision: of the run. patience: epochs without a better validation metric before the training stops.
    resume: `directory` is that of an earlier training. checkpoint: to continue from; None: start at the beginning.
    """

    directory: Path
    trainer: dict[str, Any]
    loggers: dict[str, Description]
    device: str = "auto"
    precision: str = "fp32"
    patience: int | None = None
    resume: bool = False
    checkpoint: Path | None = None


class Data(lightning.LightningDataModule):
    """The data loaders of training and validation. Each of several processes gets an equal share of the rows.

    workers: processes that read batches. balanced: an epoch has equally many rows of each person.
    """

    def __init__(
        self, train: Dataset, val: Dataset, batch_size: int, workers: int, seed: int, balanced: bool = False
    ) -> None:
        super().__init__()
        self.balanced = balanced
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
        sampler = Shuffled(len(rows), self.seed, *share, shuffle=train, starts=starts, parts=parts)
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


def build_loggers(settings: Settings) -> list[Logger]:
    """Build the loggers of a training. Raises UserError for a logger that cannot be built."""
    resumed = len(list(settings.directory.rglob("metrics.csv"))) if settings.resume else 0
    built = []
    for name, arguments in settings.loggers.items():
        arguments = dict(arguments)
        if "save_dir" in arguments and arguments["save_dir"] is None:
            arguments["save_dir"] = str(settings.directory)
        if resumed and arguments["_target_"].endswith(".CSVLogger"):  # it would overwrite its file
            arguments["version"] = f"{arguments.get('version') or 'logs'}/resumed_{resumed}"
        try:
            built.append(instantiate(arguments, _convert_="all"))
        except Exception as error:  # loggers raise anything for wrong arguments
            raise UserError(f"logger={name}: {' '.join(str(error.__cause__ or error).split())}") from None
    return built


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
    the trainer or a logger and for data that cannot be read, and KeyboardInterrupt.
    """
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", module="lightning")
    checkpoints = settings.directory / "checkpoints"
    best = ModelCheckpoint(checkpoints, "best", monitor=module.monitor, mode=module.mode, enable_version_counter=False)
    last = ModelCheckpoint(checkpoints, "last", enable_version_counter=False)  # save_last=True leaves out worse epochs
    loggers = build_loggers(settings)
    callbacks = [TQDMProgressBar(refresh_rate=10), Interrupts(), Keep(settings.directory, card, draw), best, last]
    if loggers:
        callbacks.append(LearningRateMonitor("step"))
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
    options["precision"] = PRECISIONS[settings.precision]
    try:
        loop = lightning.Trainer(
            **options,
            callbacks=callbacks,
            logger=loggers,
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
