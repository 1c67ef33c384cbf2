"""Threads that read and write files while the networks run."""

import os
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


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


def after_the_networks() -> None:
    """Lower the priority of this thread below that of the networks' threads: one late thread delays them all."""
    if sys.platform == "linux":  # elsewhere threads have no priority of their own
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 10)
