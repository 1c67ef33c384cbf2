"""A run: its output directory, its provenance, its log, and how it ends."""

import ctypes
import fcntl
import gc
import time

STARTED = time.perf_counter()

import json
import logging
import os
import platform
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict

from speech2face.compose import choose
from speech2face.errors import UserError
from speech2face.files import atomic

log = logging.getLogger(__name__)
PACKAGES = ("torch", "torchaudio", "torchvision", "numpy", "av", "pillow", "dlib-bin", "hydra-core", "safetensors")
LOCKS: list[int] = []
RANKS = ("RANK", "SLURM_PROCID", "LOCAL_RANK", "NODE_RANK", "GROUP_RANK")


def is_first() -> bool:
    """Whether this is the first, or only, of the processes that train together: the one that writes."""
    return not any(int(os.environ.get(name) or 0) for name in RANKS)


def keep_freed_memory() -> None:
    """Have glibc keep what is freed: giving a layer's output back and faulting it in again took half of the time."""
    with suppress(OSError, AttributeError):  # another libc
        libc = ctypes.CDLL("libc.so.6")
        for parameter, value in ((-4, 0), (-1, -1), (-2, 1 << 26)):  # M_MMAP_MAX, M_TRIM_THRESHOLD, M_TOP_PAD
            libc.mallopt(parameter, value)


@contextmanager
def quick_imports() -> Iterator[None]:
    """Import torch: what that makes stays out of garbage collection, which would walk it in vain.

    That walk takes a quarter of a second during the import, and half a second at exit.
    """
    if "torch" in sys.modules:
        yield
        return
    gc.disable()
    try:
        yield
        gc.freeze()
    finally:
        gc.enable()


class Run:
    """What a pipeline gets of the run that it is part of.

    directory: where it writes. overrides: what the user typed.
    record: run.json, to be added to; earlier: that of the run that this one resumes (None: of none).
    stages: wall time of each stage in s; `preprocess` and `write` are on other threads and overlap the rest.
    """

    way_on = "the same command with resume={directory}"  # after an interruption; a pipeline may know a better one
    count = 0  # of runs in this process: a sweep has several, and the first one's time includes the imports

    def __init__(self, directory: Path, overrides: list[str], earlier: dict[str, Any] | None = None) -> None:
        self.directory = directory
        self.earlier = earlier
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
        """From here on the run is written down. One that resumes another begins when it has found that it may."""
        self.begun = is_first()
        self.save()

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Add the time that the block takes to a stage."""
        began = time.perf_counter()
        try:
            yield
        finally:
            with self._lock:
                self.stages[name] = self.stages.get(name, 0.0) + time.perf_counter() - began

    def save(self, **changes: Any) -> None:
        """Write run.json as it stands, whole."""
        if not self.begun:
            return
        self.record.update(changes)
        self.record["seconds"] = {name: round(value, 3) for name, value in self.stages.items()} | {
            "total": round(time.perf_counter() - self.started, 3)
        }
        with atomic(self.directory / "run.json") as partial:
            partial.write_text(json.dumps(self.record, indent=2, default=str) + "\n")

    def save_config(self, config: DictConfig) -> None:
        """Write the effective configuration, weights' own front end and architecture settled, to .hydra/effective.yaml.

        `python run.py -cd DIRECTORY/.hydra -cn effective` repeats the run from it.
        """
        if not is_first():
            return
        text = OmegaConf.to_yaml(config, resolve=False)
        file = self.directory / ".hydra" / "effective.yaml"
        file.parent.mkdir(parents=True, exist_ok=True)
        with atomic(file) as partial:
            partial.write_text(f"defaults:\n- settings\n- _self_\n{text}")


def git_state() -> dict[str, Any] | None:
    """Commit of the project's checkout and whether tracked files differ from it; None outside a checkout."""
    project = Path(__file__).parents[1]
    try:
        commit, status = (
            subprocess.run(["git", "-C", project, *args], capture_output=True, text=True, check=True, timeout=10).stdout
            for args in (["rev-parse", "HEAD"], ["status", "--porcelain", "--untracked-files=no"])
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return {"commit": commit.strip(), "modified": bool(status.strip())}


def execute(config: DictConfig) -> None:
    """Run config.pipeline in Hydra's output directory; write run.json; end with status 1 if anything failed.

    In a sweep a failed job is logged and recorded, and the others go on; the sweep ends with status 1.
    """
    from hydra.utils import get_method

    keep_freed_memory()
    settings = HydraConfig.get()
    directory = Path(settings.runtime.output_dir)
    sweeping = settings.mode == RunMode.MULTIRUN
    try:
        earlier = None if OmegaConf.is_missing(config, "resume") else read_record(directory)
        if is_first():
            lock(directory)
    except UserError as error:
        log.error("error: %s", error)
        sys.exit(1)
    choose(config, settings.runtime.choices)
    run = Run(directory, list(settings.overrides.task), earlier)
    status = 1
    try:
        arguments = {key: value for key, value in config.pipeline.items() if key != "_target_"}
        status = get_method(config.pipeline._target_)(config, run, **arguments)
        run.save(status="failed" if status else "finished")
    except UserError as error:
        log.error("error: %s", error)
        run.save(status="failed", error=" ".join(str(error).split()))
    except KeyboardInterrupt:
        log.error("interrupted" if sweeping else f"interrupted; to go on: {run.way_on.format(directory=directory)}")
        run.save(status="interrupted")
        sys.exit(130)
    except OSError as error:  # a full disk, an output directory that cannot be written
        way_on = run.way_on.format(directory=directory)
        log.error("error: %s; what was written is whole; to go on: %s", error, way_on)
        run.save(status="failed", error=str(error))
    except Exception as error:
        log.exception("defect: %s", error)
        run.save(status="failed", error=" ".join(f"{type(error).__name__}: {error}".split()))
    if not sweeping and status:
        sys.exit(status)


def read_record(directory: Path) -> dict[str, Any]:
    """run.json of an earlier run. Raises UserError where there is none."""
    try:
        return json.loads((directory / "run.json").read_text())
    except FileNotFoundError:
        raise UserError(f"resume={directory}: no run there to go on with (no run.json)") from None
    except ValueError:
        return {}  # ended before it began


def lock(path: Path, shared: bool = False) -> int:
    """Lock a directory or file until the descriptor is closed, or this process ends.

    shared: others may share it. Raises UserError where another has it.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise UserError(f"{path}: another run is writing there") from None
    LOCKS.append(descriptor)
    return descriptor


def unlock(descriptor: int) -> None:
    LOCKS.remove(descriptor)
    os.close(descriptor)


def let_go(_: int = 0) -> None:
    """In a forked process: leave the locks to the first, so that they end with it, and leave interrupts to it, too."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for descriptor in LOCKS:
        with suppress(OSError):
            os.close(descriptor)


class KeepEarlierRuns(Callback):
    """Hydra callback: a run gets a directory of its own before Hydra writes there, and an earlier run is left alone."""

    def on_run_start(self, config: DictConfig, **_: Any) -> None:
        directory = Path(config.hydra.run.dir)
        if not is_first():
            return
        if OmegaConf.is_missing(config, "resume"):
            directory.mkdir(parents=True, exist_ok=True)
            self._claim(directory, directory / "run.json", "resume")
        elif not (directory / "run.json").exists():
            self._refuse(f"resume={directory}: no run there to go on with (no run.json)")
        else:  # what Hydra writes goes beside what it wrote of the earlier run
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
        print(f"error: {message}", file=sys.stderr)  # an exception would only be logged by Hydra
        sys.exit(1)
