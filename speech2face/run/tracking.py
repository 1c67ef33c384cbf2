"""What the trackers of a run or of a sweep (logger=) are told, and when."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import OmegaConf

from speech2face.run.record import Run
from speech2face.run.sweep import COMMAND
from speech2face.weights.front_end import leaves
from speech2face.weights.part import Description

if TYPE_CHECKING:
    from lightning.pytorch.loggers import Logger

CONFIGURATION = ".hydra/effective.yaml"
PAGES = ("report.html", "comparison.html", "comparison.csv")


@contextmanager
def tracked(loggers: Mapping[str, Description], run: Run) -> Iterator["dict[str, Logger]"]:
    """Build the loggers of a run by name, and at its end give them its metrics, pictures and files.

    Its parameters are written by `begin`, or at the end. Raises UserError for a logger that cannot be built.
    """
    if not loggers:
        yield {}
        return
    from speech2face.training import trackers

    had = (run.earlier or {}).get("loggers", {})
    sweep = run.record.get("sweep")
    built = {}
    for name, arguments in loggers.items():
        given = _names(run.directory) | {"run_id": had.get(name), "id": had.get(name), "group": sweep}
        built |= trackers.build({name: arguments}, run.directory, given)
    status = "failed"
    try:
        yield built
        if run.first:
            begin(built, loggers, run)
            found = (run.record.get("metrics") or {}).items()  # those of val/ were logged in training
            for logger in built.values():
                logger.log_metrics({name: v for name, v in found if v is not None and not name.startswith("val/")})
                logger.save()
            conclude(built, run.directory)
        status = "success"
    finally:
        for logger in built.values() if run.first else ():
            trackers.close(logger, status)


def begin(built: "Mapping[str, Logger]", loggers: Mapping[str, Description], run: Run) -> None:
    """Write the parameters of a run once it has frozen its configuration: all options, the commit and the directory.

    built: the loggers. loggers: their descriptions. A resumed run keeps the parameters that its stores have.
    """
    from speech2face.training import trackers

    if "loggers" in run.record or not run.first:
        return
    ids = {name: trackers.run_id(loggers[name], logger) for name, logger in built.items()}
    run.save(loggers={name: one for name, one in ids.items() if one})
    content = OmegaConf.load(run.directory / CONFIGURATION)
    parameters = leaves(OmegaConf.to_container(content, resolve=False))
    git = {f"git.{name}": value for name, value in (run.record["git"] or {}).items()}
    also = {"run.directory": str(run.directory), "run.sweep": run.record.get("sweep")}
    for name, logger in built.items():
        if name not in (run.earlier or {}).get("loggers", {}):
            trackers.write_parameters(logger, parameters | git | also)
        trackers.write_files(logger, run.directory, [run.directory / CONFIGURATION])


def conclude(built: "Mapping[str, Logger]", directory: Path) -> None:
    """Write the pictures and pages of a directory, without those of single inputs and of epochs."""
    from speech2face.training import trackers

    pictures = [file for file in sorted(directory.glob("*.png")) if not file.name.startswith("epoch_")]
    for logger in built.values():
        for file in pictures:
            trackers.write_picture(logger, file.stem, file, 0)
        trackers.write_files(logger, directory, [file for name in PAGES if (file := directory / name).exists()])


def track_sweep(loggers: Mapping[str, Description], directory: Path, parameters: dict[str, Any]) -> None:
    """Write what compares the jobs of a sweep as a run of its own, named as its directory."""
    from speech2face.training import trackers

    kept = {name: one for name, one in loggers.items() if not one["_target_"].endswith(".CSVLogger")}
    built = trackers.build(kept, directory, _names(directory) | {"group": str(directory)}) if kept else {}
    for logger in built.values():
        trackers.write_parameters(logger, parameters)
        trackers.write_files(logger, directory, [directory / COMMAND])
    conclude(built, directory)
    for logger in built.values():
        trackers.close(logger, "success")


def _names(directory: Path) -> dict[str, str]:
    """The name of a run in the stores: the last parts of its directory's path."""
    name = os.path.join(*directory.absolute().parts[-3:])
    return {"name": name, "run_name": name}
