"""The record of a run: run.json, the effective configuration, and the time of each stage."""

import json
import os
import platform
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from speech2face.config.read import freeze
from speech2face.errors import UserError
from speech2face.files import atomic
from speech2face.run.process import STARTED

if TYPE_CHECKING:
    from speech2face.config.options import Options

PACKAGES = ("torch", "torchaudio", "torchvision", "numpy", "av", "pillow", "dlib-bin", "hydra-core", "safetensors")


class DryRun(Exception):  # noqa: N818 - no error
    """The run ends here, because only its options were asked for."""


class Run:
    """The run that a pipeline is part of: its directory, overrides, record and times.

    directory: the output directory. overrides: as the user typed them.
    record: the content of run.json. earlier: the record of the run that this one resumes, or None.
    stages: wall time of each stage in s; `preprocess` and `write` run on other threads and overlap the rest.
    metric: name of the metric that a sweeper optimises; None: the pipeline's own.
    first: this process writes; of several that train together it is the one of rank 0.
    way_on: how to go on after an interruption; a pipeline may set another way.
    dry: save_options prints the options and raises DryRun.
    """

    dry = False
    way_on = "the same command with another hydra.run.dir="
    own_metric: str | None = None  # set by the pipeline: a key of record["metrics"]
    count = 0  # of runs in this process; the time of the first run of a sweep includes the imports

    def __init__(
        self,
        directory: Path,
        overrides: list[str],
        earlier: dict[str, Any] | None = None,
        metric: str | None = None,
        first: bool = True,
    ) -> None:
        self.directory = directory
        self.first = first
        self.earlier = earlier
        self.metric = metric
        self.begun = False
        self.started = STARTED if not Run.count else time.perf_counter()
        Run.count += 1
        self.overrides = overrides
        self.stages: dict[str, float] = {}
        self._lock = threading.Lock()
        self.record: dict[str, Any] = {
            "status": "running",
            "command": [os.path.basename(sys.argv[0]), *sys.argv[1:]],
            "working_directory": os.getcwd(),
            "overrides": overrides,
            "started": datetime.now(timezone.utc).isoformat(timespec="milliseconds"),
            "git": git_state(),
            "versions": {"python": platform.python_version()} | {name: metadata.version(name) for name in PACKAGES},
            "platform": platform.platform(),
        }
        if earlier is None:
            self.begin()
        else:
            self.record["resumes"] = {
                key: value for key, value in earlier.items() if key not in ("versions", "weights")
            }

    def begin(self) -> None:
        """Write run.json from now on. A run that resumes another calls this after it has checked that it can."""
        self.begun = self.first
        self.save()

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Add the wall time of the block to a stage."""
        began = time.perf_counter()
        try:
            yield
        finally:
            with self._lock:
                self.stages[name] = self.stages.get(name, 0.0) + time.perf_counter() - began

    def imported(self) -> None:
        """Record the time since the start as that of the imports."""
        self.stages["import"] = time.perf_counter() - self.started

    def objective(self) -> str | None:
        """The name of the metric that a sweeper optimises: that of the option `metric`, or the pipeline's own.

        Raises UserError for a metric that the pipeline does not compute.
        """
        metrics = self.record.get("metrics") or {}
        name = self.metric or self.own_metric
        if name and name not in metrics:
            raise UserError(f"metric={name}: not measured; there are {', '.join(metrics) or 'none'}")
        return name

    def save(self, **changes: Any) -> None:
        """Update the record and write run.json atomically, if this process writes."""
        if not self.begun:
            return
        self.record.update(changes)
        self.record["seconds"] = {name: round(value, 3) for name, value in self.stages.items()} | {
            "total": round(time.perf_counter() - self.started, 3)
        }
        with atomic(self.directory / "run.json") as partial:
            partial.write_text(json.dumps(self.record, indent=2, default=str) + "\n")

    def save_options(self, options: "Options") -> None:
        """Write the effective options to .hydra/effective.yaml, with the front end and architecture of the weights."""
        if self.dry:
            print(freeze(options), end="")
            raise DryRun
        if not self.first:
            return
        file = self.directory / ".hydra" / "effective.yaml"
        file.parent.mkdir(parents=True, exist_ok=True)
        with atomic(file) as partial:
            partial.write_text(freeze(options), encoding="utf-8")


def git_state() -> dict[str, str | bool] | None:
    """The commit of the project's checkout, and whether tracked files are modified; None outside a checkout."""
    project = Path(__file__).parents[2]
    if not (project / ".git").exists():
        return None
    try:
        commit, status = (
            subprocess.run(["git", "-C", project, *args], capture_output=True, text=True, check=True, timeout=10).stdout
            for args in (["rev-parse", "HEAD"], ["status", "--porcelain", "--untracked-files=no"])
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return {"commit": commit.strip(), "modified": bool(status.strip())}


def optimised(record: dict[str, Any]) -> float | None:
    """The value of the metric that a sweeper optimises in the record of a finished run; None if there is none."""
    name = record.get("objective")
    return record["metrics"][name] if name and record["status"] == "finished" else None


def read_record(directory: Path) -> dict[str, Any]:
    """Read run.json of an earlier run. Raises UserError if there is none."""
    try:
        return json.loads((directory / "run.json").read_text())
    except FileNotFoundError:
        raise UserError(f"resume={directory}: no run there to go on with (no run.json)") from None
    except ValueError:
        return {}  # the run ended before it wrote the record
