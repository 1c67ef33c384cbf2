"""The process of a run: its start time, memory allocation, imports, and rank among processes that train together."""

import ctypes
import gc
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from speech2face.files import leave_to_parent

STARTED = time.perf_counter()  # this module is imported first
RANKS = ("RANK", "SLURM_PROCID", "LOCAL_RANK", "NODE_RANK", "GROUP_RANK")


def is_first() -> bool:
    """Whether this process has rank 0 or is the only one. Only this process writes files."""
    return not any(int(os.environ.get(name) or 0) for name in RANKS)


def keep_freed_memory() -> None:
    """Make glibc keep freed memory.

    By default it returns a layer's output to the system and faults it in again, which took half of the time.
    """
    with suppress(OSError, AttributeError):  # another libc
        libc = ctypes.CDLL("libc.so.6")
        for parameter, value in ((-4, 0), (-1, -1), (-2, 1 << 26)):  # M_MMAP_MAX, M_TRIM_THRESHOLD, M_TOP_PAD
            libc.mallopt(parameter, value)


def single_thread() -> None:
    """Initialise a worker process: torch uses one thread, and the parent handles interrupts."""
    import torch

    torch.set_num_threads(1)
    leave_to_parent()


@contextmanager
def quick_imports() -> Iterator[None]:
    """Exclude the objects that the block's imports create from garbage collection.

    None of torch's objects can be collected. Walking them takes a quarter of a second during the import, and half a
    second at exit.
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
