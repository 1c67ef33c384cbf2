"""The process of a run: when it began, how it keeps memory, how it imports torch, and its rank among others."""

import ctypes
import gc
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

STARTED = time.perf_counter()  # this module is imported first
RANKS = ("RANK", "SLURM_PROCID", "LOCAL_RANK", "NODE_RANK", "GROUP_RANK")


def is_first() -> bool:
    """Whether this is the first, or only, of the processes that train together: the one that writes."""
    return not any(int(os.environ.get(name) or 0) for name in RANKS)


def keep_freed_memory() -> None:
    """Have glibc keep freed memory: returning a layer's output and faulting it in again took half of the time."""
    with suppress(OSError, AttributeError):  # another libc
        libc = ctypes.CDLL("libc.so.6")
        for parameter, value in ((-4, 0), (-1, -1), (-2, 1 << 26)):  # M_MMAP_MAX, M_TRIM_THRESHOLD, M_TOP_PAD
            libc.mallopt(parameter, value)


@contextmanager
def quick_imports() -> Iterator[None]:
    """Import torch with its objects kept out of garbage collection, which would walk them in vain.

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
