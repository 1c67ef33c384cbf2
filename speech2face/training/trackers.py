"""Trackers of experiments: loggers of Lightning, which also take the configuration and pictures of a run."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from speech2face.errors import UserError, extra
from speech2face.weights.part import Description

if TYPE_CHECKING:
    from lightning.pytorch.loggers import Logger

IDS = ("run_id", "id")  # arguments of loggers whose store has an id for a run; a resumed run goes on with its own


def build(loggers: Mapping[str, Description], directory: Path, given: Mapping[str, str | None]) -> "dict[str, Logger]":
    """Build the loggers of a run, by name.

    loggers: class (_target_) and arguments by name. A save_dir of None means `directory`; other arguments of None are
    taken from `given`, where it has them. Raises UserError for a logger that cannot be built.
    """
    try:
        from hydra.utils import instantiate
        from lightning.pytorch.loggers import Logger  # noqa: F401
    except ImportError:
        raise UserError(f"logger={next(iter(loggers))} needs the extra `train`: {extra('train')}") from None
    built, given = {}, {"save_dir": str(directory), **given}
    for name, arguments in loggers.items():
        arguments = {key: given.get(key) if value is None else value for key, value in arguments.items()}
        if arguments["_target_"].endswith(".CSVLogger") and (had := len(list(directory.rglob("metrics.csv")))):
            arguments["version"] = f"{arguments.get('version') or 'logs'}/resumed_{had}"  # it would overwrite its file
        try:
            built[name] = instantiate(arguments, _convert_="all")
        except Exception as error:  # loggers raise anything for wrong arguments
            cause = error.__cause__ or error
            way_out = f"; {extra(name)}" if isinstance(cause, ModuleNotFoundError) else ""
            raise UserError(f"logger={name}: {' '.join(str(cause).split())}{way_out}") from None
    return built


def run_id(arguments: Description, logger: "Logger") -> str | None:
    """The id of the run in the logger's store, which it begins; None for a logger whose runs have none."""
    if not any(key in arguments for key in IDS):
        return None
    return logger.experiment and logger.version


def write_parameters(logger: "Logger", parameters: Mapping[str, Any]) -> None:
    """Write the parameters of a run: values by dotted name. Characters that MLflow refuses in a name become dots."""
    logger.log_hyperparams({re.sub(r"[^\w./ -]", ".", name): value for name, value in parameters.items()})
    logger.save()


def write_picture(logger: "Logger", name: str, file: Path, step: int) -> None:
    """Write a picture under a name, if the logger takes pictures: TensorBoard, MLflow, and Weights & Biases do."""
    from lightning.pytorch.loggers import MLFlowLogger, TensorBoardLogger, WandbLogger

    if isinstance(logger, TensorBoardLogger):
        with Image.open(file) as image:
            logger.experiment.add_image(name, np.asarray(image.convert("RGB")), step, dataformats="HWC")
    elif isinstance(logger, MLFlowLogger):
        logger.experiment.log_artifact(logger.run_id, str(file), "pictures")
    elif isinstance(logger, WandbLogger):
        logger.log_image(name, [str(file)], step)


def write_files(logger: "Logger", directory: Path, files: Iterable[Path]) -> None:
    """Write files of a run's directory, if the logger keeps files: MLflow and Weights & Biases do."""
    from lightning.pytorch.loggers import MLFlowLogger, WandbLogger

    for file in files:
        if isinstance(logger, MLFlowLogger):
            logger.experiment.log_artifact(logger.run_id, str(file))
        elif isinstance(logger, WandbLogger):
            logger.experiment.save(str(file), base_path=str(directory), policy="now")


def close(logger: "Logger", status: str) -> None:
    """End the run in the logger's store, if it was begun. status: "success" or "failed"."""
    from lightning.pytorch.loggers import WandbLogger

    logger.finalize(status)
    if isinstance(logger, WandbLogger):
        import wandb

        if wandb.run is not None:  # the next run of this process would else be written to this one
            wandb.finish(exit_code=int(status != "success"))
