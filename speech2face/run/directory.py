"""The output directory of a run. A run writes into the directory of an earlier run only to resume it."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from speech2face.config.compose import explain
from speech2face.config.names import quoted
from speech2face.config.options import SCHEMAS, Options, Train
from speech2face.errors import UserError
from speech2face.run import sweep
from speech2face.run.process import is_first


def schema(config: DictConfig) -> type[Options]:
    """The class of the options of the configured pipeline."""
    return SCHEMAS.get(OmegaConf.select(config, "pipeline.name"), Options)


def trains(config: DictConfig) -> bool:
    """Whether the configured pipeline is a training."""
    return issubclass(schema(config), Train)


def resumes(config: DictConfig) -> bool:
    """Whether the run goes on with an earlier one. resume=null is like leaving it out."""
    return OmegaConf.select(config, "resume") is not None


class KeepEarlierRuns(Callback):
    """Hydra callback that claims the output directory before Hydra writes there, and so protects earlier runs."""

    def on_run_start(self, config: DictConfig, **_: Any) -> None:
        with _one_line():
            if not resumes(config):
                with open_dict(config):
                    config.resume = "???"  # hydra.run.dir depends on it
            directory = _writable_by_hydra(Path(config.hydra.run.dir))
            if not is_first(trains(config)):
                return
            if not resumes(config):
                directory.mkdir(parents=True, exist_ok=True)
                if schema(config).own_directory and not (directory / "run.json").exists():
                    _check_empty(directory)
                _claim(directory, directory / "run.json", schema(config).resumable)
                return
            if not (directory / "run.json").exists():
                raise UserError(f"resume={directory}: no run there to go on with (no run.json)")
            earlier = _pipeline_of(directory)
            if earlier not in (None, config.pipeline.name):
                raise UserError(f"resume={directory}: a run of pipeline={earlier}, not of {config.pipeline.name}")
            with open_dict(config):  # keep the configuration of the earlier run, and write the new one beside it
                config.hydra.output_subdir = ".hydra/resumed"

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        with _one_line():
            if not is_first(trains(config)):
                raise UserError("a sweep of trainings runs in one process: unset RANK, SLURM_PROCID and the like")
            earlier_sweep = resumes(config)
            if earlier_sweep:
                sweep.go_on(config)
            directory = _writable_by_hydra(Path(config.hydra.sweep.dir)).absolute()
            directory.mkdir(parents=True, exist_ok=True)
            with open_dict(config):  # a worker on another machine has another working directory
                config.hydra.sweep.dir = str(directory)
                config.hydra.overrides.hydra.append(f"hydra.sweep.dir={quoted(str(directory))}")
            if not earlier_sweep:
                _claim(directory, directory / sweep.COMMAND, True)
            sweep.begin(config, directory)


@contextmanager
def _one_line() -> Iterator[None]:
    """End the process with one line for a user's mistake. Hydra would only warn of an exception."""
    try:
        yield
    except OSError as error:
        print(f"error: {error.filename}: {error.strerror}; give another directory for the output", file=sys.stderr)
    except (UserError, OmegaConfBaseException) as error:
        print(f"error: {explain(error, sys.argv[1:])}", file=sys.stderr)
    else:
        return
    sys.exit(1)


def _writable_by_hydra(directory: Path) -> Path:
    if "${" in os.path.abspath(directory):
        raise UserError(
            f"{os.path.abspath(directory)}: Hydra cannot write below a name that contains ${{; "
            "give hydra.run.dir= (hydra.sweep.dir=) elsewhere"
        )
    return directory


def _check_empty(directory: Path) -> None:
    if found := sorted(os.listdir(directory)):
        raise UserError(
            f"{directory}: not empty, as it has {found[0]}; convert writes over no weights: "
            "give another directory by hydra.run.dir="
        )


def _claim(directory: Path, file: Path, resumable: bool) -> None:
    try:
        os.close(os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
    except FileExistsError:
        also = f", or go on with it by resume={directory}" if resumable else ""
        raise UserError(f"{directory} holds a run already: give another directory{also}") from None


def _pipeline_of(directory: Path) -> str | None:
    """The name of the pipeline that ran in a directory; None if no configuration there says it."""
    try:
        text = (directory / ".hydra" / "config.yaml").read_text(encoding="utf-8")
        return yaml.safe_load(text)["pipeline"]["name"]
    except (OSError, ValueError, TypeError, KeyError, yaml.YAMLError):
        return None
