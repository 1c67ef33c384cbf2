"""The command line: `python run.py` in a checkout, `speech2face` where the package is installed."""

from speech2face.run import process  # isort: skip - first: it notes when the process began

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from hydra.utils import get_method
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from speech2face import __version__
from speech2face.config.compose import CONF, chosen, explain, store_defaults
from speech2face.config.help import help_text
from speech2face.config.names import canonical
from speech2face.config.read import read
from speech2face.config.recipes import set_by_recipe
from speech2face.errors import UserError, defect
from speech2face.files import lock
from speech2face.run.record import Run, read_record

log = logging.getLogger(__name__)


def main() -> None:
    """Run the command line. A mistake on it ends with one line on stderr and exit status 1."""
    arguments = sys.argv[1:]
    if "--version" in arguments:
        print(f"speech2face {__version__}")
        return
    if {"-h", "--help"} & set(arguments):
        print(help_text(arguments))
        return
    store_defaults()
    with one_line_errors():
        sys.argv[1:] = [one if one.startswith("-") else canonical(one) for one in arguments]
        execute()


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Report a mistake on the command line as one line on stderr, and exit with status 1.

    Mistakes are UserError and the exceptions of Hydra and OmegaConf. Any other exception is a defect of this project
    and keeps its traceback. HYDRA_FULL_ERROR=1 shows every traceback.
    """
    if os.environ.setdefault("HYDRA_FULL_ERROR", "0") == "1":
        yield
        return
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then lets its exceptions through instead of printing several lines
    try:
        yield
    except KeyboardInterrupt:
        sys.exit(130)
    except (UserError, HydraException, OmegaConfBaseException, OSError) as error:  # OSError: no output directory
        print(f"error: {explain(error, sys.argv[1:])}", file=sys.stderr)
        sys.exit(1)


@hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")
def execute(config: DictConfig) -> float | None:
    """Run config.pipeline in Hydra's output directory, write run.json, and exit with status 1 if anything failed.

    In a sweep a failed job is logged and recorded, the others go on, and the sweep ends with status 1. Returns the
    metric that a sweeper optimises, if the pipeline has one.
    """
    process.keep_freed_memory()
    settings = HydraConfig.get()
    directory = Path(settings.runtime.output_dir)
    sweeping = settings.mode == RunMode.MULTIRUN
    overrides = list(settings.overrides.task)
    try:
        earlier = None if OmegaConf.is_missing(config, "resume") else read_record(directory)
        if process.is_first():
            lock(directory)
    except UserError as error:
        log.error("error: %s", error)
        sys.exit(1)
    run = Run(directory, overrides, earlier, config.get("metric"))
    status = 1
    try:
        choices = chosen(settings.runtime.choices)
        folders = [Path(source.path) for source in settings.runtime.config_sources if source.schema == "file"]
        options = read(config, choices, [*set_by_recipe(choices.get("experiment"), folders), *overrides])
        status = get_method(options.pipeline._target_)(options, run)
        run.save(status="failed" if status else "finished")
    except UserError as error:
        log.error("error: %s", error)
        run.save(status="failed", error=" ".join(str(error).split()))
    except OmegaConfBaseException as error:
        log.error("error: %s", explain(error, overrides))
        run.save(status="failed", error=explain(error, overrides))
    except KeyboardInterrupt:
        log.error("interrupted" if sweeping else f"interrupted; to go on: {run.way_on.format(directory=directory)}")
        run.save(status="interrupted")
        sys.exit(130)
    except OSError as error:  # such as a full disk
        way_on = run.way_on.format(directory=directory)
        log.error("error: %s; what was written is whole; to go on: %s", error, way_on)
        run.save(status="failed", error=str(error))
    except Exception as error:
        log.exception("defect: %s", error)
        run.save(status="failed", error=defect(error))
    if not sweeping and status:
        sys.exit(status)
    return run.optimised() if not status else None
