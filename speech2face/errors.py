"""Words for users: a mistake is reported as one line that names the problem and the way out, without a traceback."""

import os
from pathlib import Path


class UserError(Exception):
    """A mistake that the user can correct. Its message is one line: the option, the problem and the way out."""


def extra(name: str) -> str:
    """The command that installs an extra. The package is not published: pip finds extras in a checkout or a wheel."""
    checkout = Path(__file__).parents[1]
    found = (checkout / "pyproject.toml").exists()
    return f"pip install -e '{checkout}[{name}]'" if found else f"pip install 'speech2face[{name}]'"


def exists(path: Path) -> bool:
    """Whether a file or directory exists. False for a name that no file can have."""
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


def dead_link(path: str | Path) -> str | None:
    """Why a link leads nowhere; None: the path is no link, or leads somewhere."""
    if os.path.islink(path) and not os.path.exists(path):
        return f"a link to {os.readlink(path)}, which is not there"
    return None


def reason(error: Exception, path: Path) -> str:
    """The message of an error in one line, without the file's name, for a table that has a column for the file."""
    text = (error.strerror or str(error)) if isinstance(error, OSError) else str(error)
    return " ".join(text.removeprefix(f"{path}: ").split())


def defect(error: Exception) -> str:
    """An unexpected exception in one line: its class and its message."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


def why_not(path: Path, error: Exception, expected: str) -> str:
    """Why a file cannot be read as `expected`, for a message that already names the file."""
    if isinstance(error, PermissionError):
        return "no permission to read it"
    if isinstance(error, FileNotFoundError) or not exists(path):
        return dead_link(path) or "no such file"
    if path.is_dir():
        return f"a directory, not {expected}"
    return f"not {expected}" if path.stat().st_size else "the file is empty"


def counted(number: int, noun: str) -> str:
    """Such as "1 job" or "2 jobs", "1 person" or "2 people", "1 query" or "2 queries"."""
    plural = {"person": "people", "query": "queries"}.get(noun, f"{noun}s")
    return f"{number} {noun if number == 1 else plural}"
