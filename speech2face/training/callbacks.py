"""Callbacks of a training: interrupts, the files of every epoch, and the settings of a resumed training."""

import signal
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import WeightAveraging
from PIL import Image
from torch.optim.swa_utils import get_ema_avg_fn

from speech2face.files import atomic, end_workers
from speech2face.training.modules import Training
from speech2face.training.trackers import write_picture
from speech2face.weights.ours import save

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupts(lightning.Callback):
    """Raises an interrupt again at the next batch.

    Python ignores exceptions in some places, such as destructors, so an interrupt there would be lost.
    """

    def setup(self, trainer: lightning.Trainer, module: Training, stage: str) -> None:
        handlers = {number: signal.getsignal(number) for number in SIGNALS}
        self.came = False
        self.before = {number: handler for number, handler in handlers.items() if callable(handler)}  # not ignored
        self.on_fit_start()

    def on_fit_start(self, *_: Any) -> None:
        """Install the handlers before Lightning's, whose handler of SIGTERM may wait for other processes."""
        for number in self.before:
            signal.signal(number, self.note)

    def note(self, number: int, frame: FrameType | None) -> None:
        """Handle a signal: note it, and call the previous handler."""
        self.came = True
        self.before[number](number, frame)

    def on_train_batch_start(self, *_: Any) -> None:
        if self.came:
            raise KeyboardInterrupt

    def on_exception(self, trainer: lightning.Trainer, module: Training, exception: BaseException) -> None:
        """End the processes that read, for which Lightning would wait until they have read a batch."""
        if isinstance(exception, KeyboardInterrupt):
            end_workers()

    def teardown(self, *_: Any, **__: Any) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)


class Keep(lightning.Callback):
    """Writes the weights `last` and `best` and a sheet of pictures after every epoch.

    card: the card of the weights (speech2face.weights.ours). draw: draws the sheet.
    """

    def __init__(self, directory: Path, card: dict[str, Any], draw: Callable[[Training], Image.Image]) -> None:
        self.directory, self.card, self.draw = directory, card, draw

    def on_validation_end(self, trainer: lightning.Trainer, module: Training) -> None:
        found = trainer.callback_metrics[module.monitor]
        best = trainer.checkpoint_callback.check_monitor_top_k(trainer, found)  # all processes take part
        if not trainer.is_global_zero:
            return
        metrics = {name: float(value) for name, value in trainer.callback_metrics.items() if name.startswith("val/")}
        if best:
            self.write("best", trainer, module, metrics)
        self.write("last", trainer, module, metrics)
        was_training = module.training
        module.eval()
        sheet = self.directory / f"epoch_{trainer.current_epoch:03d}.png"
        with torch.inference_mode(), atomic(sheet) as partial:
            self.draw(module).save(partial, "PNG")
        for logger in trainer.loggers:
            write_picture(logger, "faces", sheet, trainer.global_step)
        module.train(was_training)

    def write(self, name: str, trainer: lightning.Trainer, module: Training, metrics: dict[str, float]) -> None:
        """Write the weights and their card to DIRECTORY/weights/NAME."""
        directory = self.directory / "weights" / name
        directory.mkdir(parents=True, exist_ok=True)
        progress = {"epoch": trainer.current_epoch, "steps": trainer.global_step, "metrics": metrics}
        training = self.card["training"] | progress
        save(directory, module.network.state_dict(), self.card | {"training": training})


class Averaging(WeightAveraging):
    """Averages the weights during training. The averages are what is validated, drawn and kept.

    decay: of an exponential moving average after every step (Polyak and Juditsky, 1992). None: the mean of the weights
    at the ends of the epochs, from epoch `first` on (Izmailov et al., "Averaging weights leads to wider optima", UAI
    2018); until then the weights as they are.
    """

    def __init__(self, decay: float | None, first: int = 0) -> None:
        super().__init__(**({"avg_fn": get_ema_avg_fn(decay)} if decay else {}))
        self.decay, self.first, self.due = decay, first, False

    def should_update(self, step_idx: int | None = None, epoch_idx: int | None = None) -> bool:
        return step_idx is not None and self.due

    def on_train_batch_end(self, trainer: lightning.Trainer, *arguments: Any) -> None:
        ended = trainer.is_last_batch and trainer.current_epoch >= self.first  # before the validation of this epoch
        self.due = self.decay is not None or ended
        super().on_train_batch_end(trainer, *arguments)

    def on_validation_epoch_start(self, trainer: lightning.Trainer, module: Training) -> None:
        self.swapped = bool(self._average_model and self._average_model.n_averaged)
        if self.swapped:
            super().on_validation_epoch_start(trainer, module)

    def on_validation_epoch_end(self, *_: Any) -> None:
        """Lightning's callback takes the average out here, before Keep has written it."""

    def on_validation_end(self, trainer: lightning.Trainer, module: Training) -> None:
        if self.swapped:
            super().on_validation_epoch_end(trainer, module)


class Refresh(lightning.Callback):
    """Gives a resumed training the configured settings of the optimizer and of early stopping.

    Without it, the checkpoint would restore the settings of the training that wrote it.
    """

    def __init__(self, patience: int | None) -> None:
        self.patience = patience

    def on_train_start(self, trainer: lightning.Trainer, module: Training) -> None:
        configured = module.configure_optimizers()
        groups, scheduler = trainer.optimizers[0].param_groups, trainer.lr_scheduler_configs[0].scheduler
        scheduler.base_lrs = configured["lr_scheduler"]["scheduler"].base_lrs
        rates = [
            base * factor(scheduler.last_epoch)
            for base, factor in zip(scheduler.base_lrs, scheduler.lr_lambdas, strict=True)
        ]
        for group, new, lr in zip(groups, configured["optimizer"].param_groups, rates, strict=True):
            group.update({name: value for name, value in new.items() if name != "params"} | {"lr": lr})
        for stopping in trainer.early_stopping_callbacks:
            stopping.patience = self.patience
