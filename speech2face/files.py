"""Files: their hash, writing them whole, lines of CSV, and locks."""

import csv
import fcntl
import hashlib
import io
import os
import signal
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from speech2face.errors import UserError

LOCKS: list[int] = []


def sha256(path: Path) -> str:
    """SHA-256 of a file's content, in hexadecimal."""
    digest = hashlib.sha256()
    with open(path, "rb", buffering=0) as file:
        size = os.fstat(file.fileno()).st_size
        buffer = memoryview(bytearray(min(max(size, 1 << 12), 1 << 25)))  # large: each turn waits for the interpreter
        while count := file.readinto(buffer):
            digest.update(buffer[:count])
    return digest.hexdigest()


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """A path beside `path` to write to. It replaces `path` when the block ends well, and is removed otherwise."""
    partial = path.with_name(f".{path.name}.partial")
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def csv_line(values: Iterable[Any]) -> bytes:
    """One line of a CSV file. File names may hold anything: line ends of either kind are quoted, bytes kept."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\r\n").writerow(values)  # the writer quotes what its own line end is made of
    return (text.getvalue()[:-2] + "\n").encode(errors="surrogateescape")


def lock(path: Path, shared: bool = False) -> int:
    """Lock a directory or file until the descriptor is closed, or this process ends.

    shared: other processes may hold the lock, too. Raises UserError where another process holds it.
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
    """Release a lock."""
    LOCKS.remove(descriptor)
    os.close(descriptor)


def leave_to_parent(_: int = 0) -> None:
    """In a forked process: leave locks and interrupts to the parent, so that the locks end with it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for descriptor in LOCKS:
        with suppress(OSError):
            os.close(descriptor)
