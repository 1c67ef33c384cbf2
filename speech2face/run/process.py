"""The process of a run: start time, rank among processes that train together, encoding, signals, memory, imports."""

import ctypes
import gc
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import TYPE_CHECKING, Any

from speech2face.errors import UserError
from speech2face.files import end_workers, leave_to_parent

if TYPE_CHECKING:
    from concurrent.futures import ProcessPoolExecutor

STARTED = time.perf_counter()  # this module is imported first
RANKS = ("RANK", "SLURM_PROCID", "LOCAL_RANK", "NODE_RANK", "GROUP_RANK")


TERMINATIONS = (signal.SIGTERM, signal.SIGHUP)
terminated_by: int | None = None  # the signal of TERMINATIONS that this process has received


def is_first(trains: bool) -> bool:
    """Whether this process writes the files of its run.

    Several processes run one training together, and the one of rank 0 writes. Other runs have one process, whatever
    the environment says of ranks. Raises UserError for a rank that is not a number.

    trains: the run is a training.
    """
    for name in RANKS if trains else ():
        value = os.environ.get(name) or "0"
        try:
            if int(value) > 0:
                return False
        except ValueError:
            raise UserError(f"{name}={value}: the rank of this process must be a whole number; unset it") from None
    return True


def use_utf8() -> None:
    """Start this command again in Python's UTF-8 mode if the locale has another encoding.

    Names of files are UTF-8 nearly everywhere, and the locale C cannot express them.
    """
    if sys.getfilesystemencoding() != "utf-8" and sys.executable:
        os.execv(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]])


def interrupt_on_termination() -> None:
    """Let SIGTERM and SIGHUP interrupt this process as Control-C does (KeyboardInterrupt), but not its forks.

    A signal that is ignored, as by nohup, stays ignored.
    """
    for number in TERMINATIONS:
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, _interrupt)
    os.register_at_fork(after_in_child=_terminate_by_default)
    sys.unraisablehook = _report_dropped


def _interrupt(number: int, _: FrameType | None) -> None:
    global terminated_by
    terminated_by = number
    raise KeyboardInterrupt


def _report_dropped(dropped: "sys.UnraisableHookArgs") -> None:
    """Print an exception that Python drops, unless it is an interrupt, which is raised again."""
    if dropped.exc_type is not KeyboardInterrupt:
        sys.__unraisablehook__(dropped)


def raise_lost_interrupt() -> None:
    """Raise KeyboardInterrupt again if this process has received a signal of TERMINATIONS.

    Python drops an exception that is raised in a destructor, or in a function that is called at a fork.
    """
    if terminated_by:
        raise KeyboardInterrupt


def _terminate_by_default() -> None:
    for number in TERMINATIONS:
        if callable(signal.getsignal(number)):
            signal.signal(number, signal.SIG_DFL)


def interrupted() -> int:
    """End the workers, ignore further signals of TERMINATIONS, and return the exit status after an interruption."""
    for number in TERMINATIONS:
        signal.signal(number, signal.SIG_IGN)
    end_workers()
    return 128 + (terminated_by or signal.SIGINT)


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
def worker_processes(
    count: int, initializer: Callable[..., None] = single_thread, arguments: tuple[Any, ...] = ()
) -> "Iterator[ProcessPoolExecutor]":
    """An executor with so many processes of one thread each. If the block raises, they are ended at once.

    Otherwise an interrupt would wait for the work that they have begun. initializer: calls `single_thread`.
    """
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor

    context = multiprocessing.get_context("spawn")  # a fork of a process with threads may hang
    executor = ProcessPoolExecutor(count, context, initializer=initializer, initargs=arguments)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # in the processes, too, which start here
    for _ in range(count):
        executor.submit(int)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    try:
        yield executor
    except BaseException:
        end_workers()
        raise
    finally:
        executor.shutdown(cancel_futures=True)


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
