"""The output directory of a run. A run writes into the directory of an earlier run only to resume it."""

import os
import sys
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf, open_dict

from speech2face.run.process import is_first


class KeepEarlierRuns(Callback):
    """Hydra callback that claims the output directory before Hydra writes there, and so protects earlier runs."""

    def on_run_start(self, config: DictConfig, **_: Any) -> None:
        directory = Path(config.hydra.run.dir)
        if not is_first():
            return
        if OmegaConf.is_missing(config, "resume"):
            directory.mkdir(parents=True, exist_ok=True)
            self._claim(directory, directory / "run.json", "resume")
        elif not (directory / "run.json").exists():
            self._refuse(f"resume={directory}: no run there to go on with (no run.json)")
        else:  # keep the configuration of the earlier run, and write the new one beside it
            with open_dict(config):
                config.hydra.output_subdir = ".hydra/resumed"

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        if any(override.lstrip("+").startswith("resume=") for override in config.hydra.overrides.task):
            self._refuse("resume= goes on with one run, not with a sweep")
        directory = Path(config.hydra.sweep.dir)
        directory.mkdir(parents=True, exist_ok=True)
        self._claim(directory, directory / "multirun.yaml", None)

    def _claim(self, directory: Path, file: Path, way_out: str | None) -> None:
        try:
            os.close(os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
        except FileExistsError:
            also = f", or go on with it by resume={directory}" if way_out else ""
            self._refuse(f"{directory} holds a run already: give another directory{also}")

    def _refuse(self, message: str) -> None:
        print(f"error: {message}", file=sys.stderr)  # Hydra would only log an exception
        sys.exit(1)
