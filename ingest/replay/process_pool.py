"""Processes that work through batches side by side, each on a connection of its own.

Input: a step, and the batches it is to be done for. Output: what each came to, in the order of
the batches. A step derives for itself and takes its turn where it writes: one process at a time
writes, while the others derive.

A process hands nothing but numbers back. Sent to one writer, what was derived would cost a fifth
of the whole to pack and to unpack.
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

from ingest.config.file import Config
from ingest.store.engine import open_store

T = TypeVar("T")
R = TypeVar("R")


class ParserError(Exception):
    """A process ended before its work did. The text is one line: what happened, what to do."""


@dataclass(frozen=True, slots=True)
class BatchRunner:
    """What a step works with: `turn` is held while it writes."""

    engine: Engine
    config: Config
    turn: AbstractContextManager[object]


Step = Callable[[BatchRunner, T], R]


def run_batches(
    engine: Engine, config: Config, parsers: int, step: Step[T, R], batches: Iterable[T]
) -> Iterator[R]:
    """`step` for every batch, results in order. Whatever the batches or a step raise comes after
    the results of all batches before it.

    `step` must be a function of a module, and batches small to send: with `parsers` above 1 they
    go to that many processes. Raises `ParserError`.
    """
    source = _UntilError(batches)
    if parsers == 1:
        bench = BatchRunner(engine, config, nullcontext())
        for batch in source:
            with _uncollected():
                result = step(bench, batch)
            yield result
    else:
        engine.dispose()  # a connection must not be shared with the processes to come
        yield from _in_processes(engine, config, parsers, step, source)
    if source.error is not None:
        raise source.error


class _UntilError(Iterator[T]):
    """Items up to the error that ends them, which is kept."""

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
        except Exception as error:  # noqa: BLE001 - raised after what came before it
            self.error = error
            raise StopIteration from None


def _in_processes(
    engine: Engine, config: Config, parsers: int, step: Step[T, R], batches: Iterator[T]
) -> Iterator[R]:
    # Forking costs nothing to start, but copies the locks of other threads as they are.
    context = multiprocessing.get_context("fork" if threading.active_count() == 1 else "forkserver")
    url = engine.url.render_as_string(hide_password=False)
    pool = ProcessPoolExecutor(parsers, context, _begin, (url, config, context.Lock()))
    under_way: deque[Future[R]] = deque()
    try:
        with _undisturbed():
            # Starts them all, before the source is read and starts a thread.
            pool.submit(os.getpid)
        while True:
            # As many again as are in work, so that none waits for the next to be read.
            for batch in islice(batches, 2 * parsers - len(under_way)):
                under_way.append(pool.submit(_run, step, batch))
            if not under_way:
                return
            yield under_way.popleft().result()
    except BrokenProcessPool:
        raise ParserError(
            "a parser process was killed (out of memory?); what it had in hand is not stored: "
            "run it again, it goes on from there; --parsers 1 needs the least memory"
        ) from None
    except KeyboardInterrupt:
        # With a transaction that does not end nothing is lost.
        for process in multiprocessing.active_children():
            process.kill()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


@contextmanager
def _undisturbed() -> Iterator[None]:
    """A Ctrl-C now comes a moment later: Python forgets one that comes while it forks."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


# --- in the process -----------------------------------------------------------------------------

# Of a process of its own, which has one thread that uses it.
_own: list[BatchRunner] = []


def _begin(url: str, config: Config, turn: Lock) -> None:
    """What a process does before its first batch."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent is asked too, and sees to us
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _own.append(BatchRunner(open_store(url), config, turn))
    gc.freeze()


def _end_with_parent() -> None:
    """A parent that is killed tells nobody, and its queue stays open in every process."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)


def _run(step: Step[T, R], batch: T) -> R:
    with _uncollected():
        return step(_own[0], batch)


@contextmanager
def _uncollected() -> Iterator[None]:
    """Without the collector of cycles, which would look at every object of the batch again and
    again, a fifth of the time, and find that all are in use.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
