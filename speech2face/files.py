"""Files: hashes, atomic writing, lines of CSV, locks; and the processes that read them."""

import csv
import fcntl
import hashlib
import io
import os
import signal
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from speech2face.errors import UserError

LOCKS: list[int] = []  # open descriptors of this process's locks


def sha256(path: Path) -> str:
    """SHA-256 of a file's content, in hexadecimal."""
    digest = hashlib.sha256()
    with open(path, "rb", buffering=0) as file:
        size = os.fstat(file.fileno()).st_size
        buffer = memoryview(bytearray(min(max(size, 1 << 12), 1 << 25)))  # large, because each read waits for the GIL
        while count := file.readinto(buffer):
            digest.update(buffer[:count])
    return digest.hexdigest()


def state(path: Path) -> tuple[int, int]:
    """Size in bytes and time of the last change of a file; zeros for a file that is not there or not to be read."""
    try:
        status = os.stat(path)
    except OSError:
        return 0, 0
    return status.st_size, status.st_mtime_ns


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` to write to. It replaces `path` if the block succeeds, else it is removed."""
    partial = path.with_name(f".{path.name}.partial")
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def csv_line(values: Iterable[object]) -> bytes:
    """One line of a CSV file that can hold any file name: line ends are quoted, and bytes that are not UTF-8 kept."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\r\n").writerow(values)  # with this terminator the writer quotes \r and \n
    return (text.getvalue()[:-2] + "\n").encode(errors="surrogateescape")


def lock(path: Path, shared: bool = False) -> int:
    """Lock a directory or file until `unlock`, or until this process ends. Returns the descriptor of the lock.

    shared: other processes may hold a shared lock at the same time. Raises UserError if another process has the lock.
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
    """Release a lock. descriptor: of `lock`."""
    LOCKS.remove(descriptor)
    os.close(descriptor)


def leave_to_parent(_: int = 0) -> None:
    """Initialise a worker process: ignore interrupts, and close inherited locks, so that they end with the parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for descriptor in LOCKS:
        with suppress(OSError):
            os.close(descriptor)


def end_workers() -> None:
    """End the worker processes of this process at once, because an interrupt does not wait for what they have begun."""
    import multiprocessing

    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # torch's handler raises an error for workers that ended
    for child in multiprocessing.active_children():
        child.terminate()
