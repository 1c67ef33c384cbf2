"""The lines that a run prints."""

import logging
import os
import sys

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode

COLOURS = {logging.WARNING: "33", logging.ERROR: "31"}  # yellow, red


class ConsoleFormatter(logging.Formatter):
    """Formats a line: the number of its job before it in a sweep, and warnings and errors in colour on a terminal.

    The environment variable NO_COLOR switches colours off.
    """

    def format(self, record: logging.LogRecord) -> str:
        line = job_label() + super().format(record)
        colour = COLOURS.get(record.levelno)
        if colour and sys.stderr.isatty() and not os.environ.get("NO_COLOR"):
            line = f"\x1b[{colour}m{line}\x1b[0m"
        return line


def job_label() -> str:
    """The number of the job in a sweep, such as "[0] "; "" outside of sweeps."""
    sweeping = HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN
    return f"[{HydraConfig.get().job.num}] " if sweeping else ""
