"""Run batches in several processes, each of which has its own database connection.

Input: a step, and the batches to call it for. Output: the results, in the order of the batches. The
processes derive in parallel, and a step takes the write lock while it writes: one process at a time
writes, while the others derive.

A process returns only numbers. Sending what was derived to a single writer would cost a fifth of
the total time for packing and unpacking it.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from itertools import islice
from multiprocessing.connection import wait
from multiprocessing.synchronize import Lock
from typing import TypeVar

from sqlalchemy import Engine

from ingest.collector import collector_disabled
from ingest.config.settings import Config
from ingest.store.database.engine import open_store

T = TypeVar("T")
R = TypeVar("R")


class ParserError(Exception):
    """A process ended before its work was complete.

    The text is one line with the cause and the remedy.
    """


@dataclass(frozen=True, slots=True)
class StepContext:
    """The resources of a step. A step holds `write_lock` while it writes."""

    engine: Engine
    config: Config
    write_lock: AbstractContextManager[object]


Step = Callable[[StepContext, T], R]


def run_batches(
    engine: Engine, config: Config, parsers: int, step: Step[T, R], batches: Iterable[T]
) -> Iterator[R]:
    """Call `step` for every batch, and yield the results in the order of the batches.

    `step` must be a function of a module, and batches must be small to send: if `parsers` is above
    1, they are sent to that many processes. Begins no transaction; the steps begin theirs. An
    exception of the batches or of a step is raised after the results of all batches before it.
    Raises `ParserError`.
    """
    source = _UntilError(batches)
    if parsers == 1:
        context = StepContext(engine, config, nullcontext())
        for batch in source:
            yield _run_step(step, context, batch)
    else:
        engine.dispose()  # forked processes must not share a connection
        yield from _run_in_processes(engine, config, parsers, step, source)
    if source.error is not None:
        raise source.error


def _run_step(step: Step[T, R], context: StepContext, batch: T) -> R:
    # The collector would examine every object of the batch again and again, for a fifth of the
    # time, and find that all of them are in use.
    with collector_disabled():
        return step(context, batch)


class _UntilError(Iterator[T]):
    """An iterator that ends at the first exception, and keeps it in `error`."""

    def __init__(self, items: Iterable[T]) -> None:
        self._items = iter(items)
        self.error: Exception | None = None

    def __next__(self) -> T:
        if self.error is not None:
            raise StopIteration
        try:
            return next(self._items)
        except StopIteration:
            raise
        except Exception as error:  # noqa: BLE001 - raised after the results before it
            self.error = error
            raise StopIteration from None


def _run_in_processes(
    engine: Engine, config: Config, parsers: int, step: Step[T, R], batches: Iterator[T]
) -> Iterator[R]:
    # Forking is the fastest start, but copies the locks of other threads in their present state.
    method = "fork" if threading.active_count() == 1 else "forkserver"
    context = multiprocessing.get_context(method)
    url = engine.url.render_as_string(hide_password=False)
    pool = ProcessPoolExecutor(parsers, context, _start_process, (url, config, context.Lock()))
    futures: deque[Future[R]] = deque()
    try:
        with _interrupt_blocked():
            # This starts all processes, before the source is read and starts a thread.
            pool.submit(os.getpid)
        while True:
            # Twice as many batches as processes, so that no process waits for the next to be read.
            for batch in islice(batches, 2 * parsers - len(futures)):
                futures.append(pool.submit(_run_own_step, step, batch))
            if not futures:
                return
            yield futures.popleft().result()
    except BrokenProcessPool:
        raise ParserError(
            "a parser process was killed (out of memory?); the mail in progress is not stored: "
            "run it again, it continues from there; --parsers 1 needs the least memory"
        ) from None
    except KeyboardInterrupt:
        # Killing is safe: a transaction that is not committed leaves no trace.
        for process in multiprocessing.active_children():
            process.kill()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


@contextmanager
def _interrupt_blocked() -> Iterator[None]:
    """Delay a Ctrl-C until the block ends: Python loses one that arrives while it forks."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


# --- in the process -----------------------------------------------------------------------------

# The context of a worker process, of which a single thread uses it.
_own_context: list[StepContext] = []


def _start_process(url: str, config: Config, write_lock: Lock) -> None:
    """Prepare a worker process for its first batch."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent receives it too, and stops us
    threading.Thread(target=_exit_with_parent, daemon=True).start()
    _own_context.append(StepContext(open_store(url), config, write_lock))
    gc.freeze()


def _exit_with_parent() -> None:
    """Exit when the parent does.

    A parent that is killed cannot notify its processes, and its queue stays open in each of them.
    """
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)


def _run_own_step(step: Step[T, R], batch: T) -> R:
    return _run_step(step, _own_context[0], batch)
