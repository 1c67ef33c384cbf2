"""A user's mistake is one line that names the thing and the way out, never a traceback."""

from pathlib import Path


class UserError(Exception):
    """A mistake that the user can mend. Its message is one line: what is wrong, with which option, the way out."""


def exists(path: Path) -> bool:
    """Whether a file or directory exists. A name that no file can have is answered with False."""
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


def reason(error: Exception, path: Path) -> str:
    """What is wrong with a file, in one line and without the file's name, for a table that has a column for it."""
    text = (error.strerror or str(error)) if isinstance(error, OSError) else str(error)
    return " ".join(text.removeprefix(f"{path}: ").split())


def defect(error: Exception) -> str:
    """An unexpected exception in one line: its class and its message."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


def why_not(path: Path, error: Exception, expected: str) -> str:
    """Why a file cannot be read as `expected`, for a message that has named the file already."""
    if isinstance(error, FileNotFoundError):
        return "no such file"
    if isinstance(error, PermissionError):
        return "no permission to read it"
    if path.is_dir():
        return f"a directory, not {expected}"
    return f"not {expected}" if path.stat().st_size else "the file is empty"
