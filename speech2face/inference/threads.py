"""Threads that read and write files while the networks run, and threads that run small networks."""

import os
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from speech2face.inference.device import OnDevice

Item = TypeVar("Item")
Result = TypeVar("Result")
SMALL = 10_000_000  # parameters; two threads run a smaller network 1.3 to 1.7 times as fast as one does
SIDE_BY_SIDE = 4  # batches at once, at most: they share one interpreter


@contextmanager
def reading_threads(count: int) -> Iterator[Executor]:
    """An executor with so many threads. If the block raises, what they have not begun is not done."""
    executor = ThreadPoolExecutor(count)
    try:
        yield executor
    finally:
        executor.shutdown(cancel_futures=True)


def ahead(
    executor: Executor, function: Callable[[Item], Result], items: Iterable[Item], depth: int
) -> Iterator[Result]:
    """Yield function(item) for every item, in order. The executor computes at most `depth` items ahead."""
    pending: deque[Future[Result]] = deque()
    for item in items:
        pending.append(executor.submit(function, item))
        while pending and (len(pending) > depth or pending[0].done()):
            yield pending.popleft().result()
    while pending:
        yield pending.popleft().result()


@contextmanager
def map_batches(part: "OnDevice") -> Iterator[Callable[..., Iterator[Any]]]:
    """A `map` over the batches of an encoder. On a CPU a small network takes several at once, on threads of their own.

    Its products are too small to be shared by the threads of torch, and the interpreter is busy with their reading. The
    batches of other networks follow each other on this thread, which an interrupt reaches within an operation.
    """
    import torch

    threads = torch.get_num_threads()
    count = min(threads, SIDE_BY_SIDE)
    parameters = sum(one.numel() for one in part.network.parameters())
    if count == 1 or part.device.type != "cpu" or parameters > SMALL:
        yield map
        return
    torch.set_num_threads(threads // count)
    try:
        with reading_threads(count) as executor:
            yield lambda function, items: ahead(executor, function, items, count)
    finally:
        torch.set_num_threads(threads)


def after_the_networks() -> None:
    """Lower the priority of this thread below that of the networks' threads: one late thread delays them all."""
    if sys.platform == "linux":  # elsewhere threads have no priority of their own
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 10)
