"""A user's mistake is one line that names the thing and the way out, never a traceback."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class UserError(Exception):
    """What the user can mend. The message is one line: what is wrong, with which file or option, and the way out."""


def exists(path: Path) -> bool:
    """Whether there is something at `path`; a name that no file can have is not an error but an answer."""
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


def reason(error: Exception, path: Path) -> str:
    """What is wrong with a file, in one line and without its name, for a table that has it."""
    text = (error.strerror or str(error)) if isinstance(error, OSError) else str(error)
    return " ".join(text.removeprefix(f"{path}: ").split())


def why_not(path: Path, error: Exception, expected: str) -> str:
    """What keeps a file from being read as what was `expected`, for a message that has named it already."""
    if isinstance(error, FileNotFoundError):
        return "no such file"
    if isinstance(error, PermissionError):
        return "no permission to read it"
    if path.is_dir():
        return f"a directory, not {expected}"
    return f"not {expected}" if path.stat().st_size else "the file is empty"


def one_line(error: Exception) -> str:
    """The message of an error of ours, Hydra's or OmegaConf's on one line, with the way out."""
    from hydra.errors import OverrideParseException

    message = str(error).partition("Config search path")[0]
    if isinstance(error, OverrideParseException):
        message = f"{error.override}: special characters need quotes inside quotes, as in \"audio='clip (1).wav'\""
    elif message.startswith("Could not override"):
        message = f"{message.splitlines()[0]} There is no such option: see python run.py --help"
    return " ".join(message.split())


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Turn a mistake on the command line, ours or one that Hydra found, into one line on stderr and exit status 1.

    Anything else is a defect of ours and keeps its traceback. HYDRA_FULL_ERROR=1 shows every traceback.
    """
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    if os.environ.setdefault("HYDRA_FULL_ERROR", "0") == "1":
        yield
        return
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then lets its exceptions through instead of printing several lines
    try:
        yield
    except KeyboardInterrupt:
        sys.exit(130)
    except (UserError, HydraException, OmegaConfBaseException, OSError) as error:  # OSError: no output directory
        print(f"error: {one_line(error)}", file=sys.stderr)
        sys.exit(1)
