"""The command line: `python run.py` in a checkout, `speech2face` where the package is installed."""

from speech2face.run import process  # isort: skip - first: it notes when the process began

import argparse
import logging
import os
import sys
import tempfile
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import hydra
from hydra._internal.utils import get_args_parser
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
from speech2face.run import sweep
from speech2face.run.directory import resumes, schema, trains
from speech2face.run.record import DryRun, Run, optimised, read_record

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
    process.use_utf8()
    process.interrupt_on_termination()
    store_defaults()
    with one_line_errors(), tempfile.TemporaryDirectory() as nowhere:
        if "--dry-run" in arguments:
            Run.dry = True
            arguments = [one for one in arguments if one != "--dry-run"]
            arguments += [f"hydra.run.dir={nowhere}/run", f"hydra.sweep.dir={nowhere}/sweep"]
        sys.argv[1:] = [one if one.startswith("-") else canonical(one) for one in flags_first(arguments)]
        execute()


def flags_first(arguments: list[str]) -> list[str]:
    """Put Hydra's flags, such as -m, before the options, because Hydra takes no options on both sides of a flag.

    Raises UserError for an argument that begins with a dash and is none of Hydra's, such as --audio clip.wav.
    """
    parser = get_args_parser()
    parser.exit_on_error = False
    try:
        known, unknown = parser.parse_known_intermixed_args(arguments)
    except argparse.ArgumentError as error:
        raise UserError(f"{error}; python run.py --help") from None
    if unknown:
        name, equals, value = unknown[0].lstrip("-").partition("=")
        following = arguments[arguments.index(unknown[0]) + 1 :]
        value = value if equals else next(iter(following), "VALUE")
        raise UserError(f"{unknown[0]}: an option is name=value, as in {name}={value}")
    options = list(known.overrides)
    flags = [one for one in arguments if one not in options]
    return flags + options


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Report a mistake on the command line as one line on stderr, and exit with status 1.

    Mistakes are UserError and the exceptions of Hydra and OmegaConf. What ends a sweep outside of its jobs is one line,
    too, such as a worker that was killed. Any other exception is a defect of this project and keeps its traceback.
    HYDRA_FULL_ERROR=1 shows every traceback.
    """
    if os.environ.setdefault("HYDRA_FULL_ERROR", "0") == "1":
        yield
        return
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then lets its exceptions through instead of printing several lines
    try:
        yield
    except KeyboardInterrupt:
        sys.exit(process.interrupted())
    except (UserError, HydraException, OmegaConfBaseException, OSError) as error:  # OSError: no output directory
        print(f"error: {explain(error, sys.argv[1:])}", file=sys.stderr)
        sys.exit(1)
    except Exception as error:
        if not sweep.begun:
            raise
        way_on = f"to run what is missing: the same command with resume={sweep.begun}"
        print(f"error: the sweep ended ({defect(error)}); {way_on}", file=sys.stderr)
        sys.exit(1)


@hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")
def execute(config: DictConfig) -> float | None:
    """Run config.pipeline in Hydra's output directory, write run.json, and exit with status 1 if anything failed.

    In a sweep a failed job is logged and recorded, the others go on, and the sweep ends with status 1. A job that was
    done before (resume=) does not run again. Returns the metric that a sweeper optimises, if the pipeline has one.
    """
    process.keep_freed_memory()
    settings = HydraConfig.get()
    runtime = OmegaConf.to_container(settings.runtime, resolve=False)  # names of directories may contain ${
    os.chdir(runtime["cwd"])  # relative paths mean the user's directory, under hydra.job.chdir=true, too
    directory = Path(runtime["output_dir"])
    sweeping = settings.mode == RunMode.MULTIRUN
    overrides = OmegaConf.to_container(settings.overrides.task, resolve=False)
    stopping = sweeping and OmegaConf.select(config, "sweep.stop_on_failure")
    try:
        earlier = read_record(directory) if resumes(config) else None
        if sweeping and (earlier := sweep.earlier_job(directory, overrides)):
            if sweep.is_done(earlier, settings):
                log.info("%s before: %s", earlier["status"], directory)
                return optimised(earlier)
            earlier = earlier if schema(config).resumable else None
        if stopping and (number := sweep.stopped_by(Path(settings.sweep.dir))):
            log.warning("not started: job %s failed, and sweep.stop_on_failure=true", number)
            return None
        first = process.is_first(trains(config))
        if first:
            lock(directory)
    except UserError as error:
        report("error: %s", error)
        sys.exit(1)
    run = Run(directory, overrides, earlier, OmegaConf.select(config, "metric"), first)
    if sweeping:
        run.record["sweep"] = settings.sweep.dir
    status = 1
    try:
        choices = chosen(settings.runtime.choices)
        folders = [Path(source["path"]) for source in runtime["config_sources"] if source["schema"] == "file"]
        options = read(config, choices, [*set_by_recipe(choices.get("experiment"), folders), *overrides])
        if options.resumable:
            run.way_on = "the same command with resume={directory}"
        elif earlier is not None:
            raise UserError(f"pipeline={options.pipeline.name} {options.unresumable}")
        status = get_method(options.pipeline._target_)(options, run)
        run.save(status="failed" if status else "finished", objective=run.objective())
    except DryRun:
        return None
    except (KeyboardInterrupt, Exception) as error:
        if isinstance(error, KeyboardInterrupt) or process.terminated_by:  # a signal that also ends workers
            code = process.interrupted()
            way_on = f"the same command with resume={settings.sweep.dir}" if sweeping else run.way_on
            report("interrupted; to go on: %s", way_on.format(directory=directory))
            run.save(status="interrupted")
            sys.exit(code)
        if isinstance(error, UserError | OmegaConfBaseException):
            message = explain(error, overrides)
            report("error: %s", message)
        elif isinstance(error, OSError):  # such as a full disk
            message = str(error)
            report("error: %s; what was written is whole; to go on: %s", error, run.way_on.format(directory=directory))
        else:
            message = defect(error)
            report("defect: %s", error, exc_info=True)
        run.save(status="failed", error=message)
    if stopping and status:
        sweep.stop(settings)
    if not sweeping and status:
        sys.exit(status)
    return optimised(run.record)


def report(message: str, *arguments: object, exc_info: bool = False) -> None:
    """Log an error, or print it where the log is switched off (hydra/job_logging=disabled)."""
    if log.hasHandlers() and not log.disabled:
        log.error(message, *arguments, exc_info=exc_info)
        return
    print(message % arguments, file=sys.stderr)
    if exc_info:
        traceback.print_exc()
