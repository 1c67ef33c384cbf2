"""The loop around a module: Lightning's trainer, checkpoints to resume from, weights to use, pictures to look at."""

import logging
import signal
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
from speech2face.files import atomic, leave_to_parent
from speech2face.inference.device import resolve_precision
from speech2face.training.data import Shuffled
from speech2face.training.modules import Training
from speech2face.weights.ours import save

log = logging.getLogger(__name__)
PRECISIONS = {"fp32": "32-true", "bf16": "bf16-mixed", "fp16": "16-mixed"}


@dataclass
class Settings:
    """How a training runs.

    directory: of the run. trainer: arguments of lightning.Trainer. loggers: by name, class (_target_) and arguments;
    a save_dir of None is the directory. patience: epochs without a better validation before it stops.
    """

    directory: Path
    trainer: dict[str, Any]
    loggers: dict[str, dict[str, Any]]
    device: str = "auto"
    precision: str = "fp32"
    patience: int | None = None
    resume: bool = False


class Data(lightning.LightningDataModule):
    """Loaders of the training and the validation rows; each of several processes gets its share.

    balanced: an epoch has equally many rows of each person, whatever the number of recordings.
    """

    def __init__(
        self, train: Dataset, val: Dataset, batch_size: int, workers: int, seed: int, balanced: bool = False
    ) -> None:
        super().__init__()
        self.balanced = balanced
        self.sets = {"train": train, "val": val}
        self.batch_size, self.workers, self.seed = batch_size, workers, seed
        self.epoch = 0  # Lightning asks for the first batch before it knows that it resumes

    def state_dict(self) -> dict[str, int]:
        return {"epoch": self.trainer.current_epoch + 1}  # checkpoints are of an epoch's end

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.epoch = state["epoch"]

    def _loader(self, name: str) -> DataLoader:
        rows, train = self.sets[name], name == "train"
        starts = rows.starts if train and self.balanced else None
        share = self.trainer.global_rank, self.trainer.world_size
        sampler = Shuffled(len(rows), self.seed, *share, shuffle=train, starts=starts)
        sampler.set_epoch(self.epoch)
        return DataLoader(
            rows,
            self.batch_size,
            sampler=sampler,
            num_workers=self.workers,
            drop_last=train and len(sampler) > self.batch_size,
            persistent_workers=self.workers > 0,
            multiprocessing_context="fork" if self.workers else None,
            worker_init_fn=leave_to_parent,
            pin_memory=self.trainer.strategy.root_device.type == "cuda",
        )

    def train_dataloader(self) -> DataLoader:
        return self._loader("train")

    def val_dataloader(self) -> DataLoader:
        return self._loader("val")


class Interrupts(lightning.Callback):
    """An interrupt that came where Python cannot raise it, as in a destructor, is raised by the next batch."""

    def setup(self, trainer: lightning.Trainer, module: Training, stage: str) -> None:
        self.came, self.before = False, signal.getsignal(signal.SIGINT)
        if callable(self.before):  # it is not ignored
            signal.signal(signal.SIGINT, self.note)

    def note(self, *arguments: Any) -> None:
        self.came = True
        self.before(*arguments)

    def on_train_batch_start(self, *_: Any) -> None:
        if self.came:
            raise KeyboardInterrupt

    def teardown(self, *_: Any, **__: Any) -> None:
        signal.signal(signal.SIGINT, self.before)


class Keep(lightning.Callback):
    """After every epoch: weights that can be used as they are, `last` and `best`, and a sheet of pictures.

    card: what describes the weights. draw: the sheet, from the module.
    """

    def __init__(self, directory: Path, card: dict[str, Any], draw: Callable[[Training], Image.Image]) -> None:
        self.directory, self.card, self.draw = directory, card, draw

    def on_validation_end(self, trainer: lightning.Trainer, module: Training) -> None:
        found = trainer.callback_metrics[module.monitor]
        best = trainer.checkpoint_callback.check_monitor_top_k(trainer, found)  # which all processes decide together
        if not trainer.is_global_zero:
            return
        metrics = {name: float(value) for name, value in trainer.callback_metrics.items() if name.startswith("val/")}
        if best:
            self.write("best", trainer, module, metrics)
        self.write("last", trainer, module, metrics)
        was_training = module.training
        module.eval()
        with torch.inference_mode(), atomic(self.directory / f"epoch_{trainer.current_epoch:03d}.png") as partial:
            self.draw(module).save(partial, "PNG")
        module.train(was_training)

    def write(self, name: str, trainer: lightning.Trainer, module: Training, metrics: dict[str, float]) -> None:
        """Weights and their card, into DIRECTORY/weights/NAME."""
        directory = self.directory / "weights" / name
        directory.mkdir(parents=True, exist_ok=True)
        progress = {"epoch": trainer.current_epoch, "steps": trainer.global_step, "metrics": metrics}
        training = self.card["training"] | progress
        save(directory, module.network.state_dict(), self.card | {"training": training})


def training_precision(precision: str, trainer: dict[str, Any], device: str) -> str:
    """The precision that `precision` stands for on the device on which Lightning will train."""
    accelerator = trainer.get("accelerator", "auto")
    on_gpu = accelerator in ("gpu", "cuda") or (accelerator == "auto" and device != "cpu")
    return resolve_precision(precision, torch.device("cuda" if on_gpu and torch.cuda.is_available() else "cpu"))


def build_loggers(settings: Settings) -> list[Logger]:
    """The loggers of a training. Raises UserError for a logger that cannot be built."""
    resumed = len(list(settings.directory.rglob("metrics.csv"))) if settings.resume else 0
    built = []
    for name, arguments in settings.loggers.items():
        arguments = dict(arguments)
        if "save_dir" in arguments and arguments["save_dir"] is None:
            arguments["save_dir"] = str(settings.directory)
        if resumed and arguments["_target_"].endswith(".CSVLogger"):  # it would start its file afresh
            arguments["version"] = f"{arguments.get('version') or 'logs'}/resumed_{resumed}"
        try:
            built.append(instantiate(arguments, _convert_="all"))
        except Exception as error:  # whatever a logger makes of its arguments
            raise UserError(f"logger={name}: {' '.join(str(error.__cause__ or error).split())}") from None
    return built


def fit(
    module: Training,
    data: Data,
    settings: Settings,
    card: dict[str, Any],
    draw: Callable[[Training], Image.Image],
) -> dict[str, float]:
    """Train; returns the metrics of the last validation, and `best` of the metric by which weights are chosen.

    card, draw: see Keep.
    """
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", module="lightning")
    checkpoints = settings.directory / "checkpoints"
    best = ModelCheckpoint(
        checkpoints, "best", monitor=module.monitor, mode=module.mode, save_last=True, enable_version_counter=False
    )
    loggers = build_loggers(settings)
    callbacks = [TQDMProgressBar(refresh_rate=10), Interrupts(), Keep(settings.directory, card, draw), best]
    if loggers:
        callbacks.append(LearningRateMonitor("step"))
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
    last = checkpoints / "last.ckpt"
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
        loop.fit(module, data, ckpt_path=last if settings.resume and last.exists() else None)
    except SystemExit:  # Lightning makes this of an interrupt
        raise KeyboardInterrupt from None
    metrics = {name: float(value) for name, value in loop.callback_metrics.items() if name.startswith("val/")}
    if best.best_model_score is not None:
        metrics[f"best/{module.monitor.removeprefix('val/')}"] = float(best.best_model_score)
    return metrics
