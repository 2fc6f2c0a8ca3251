"""Let the writers of an SQLite file take turns, in this process and in others.

SQLite makes a waiting writer sleep for longer and longer, and a writer that comes while it sleeps
goes first: deliveries waited for seconds for their commit while other mail was derived. So each
writer first locks two bytes of a file next to the store:

- the *queue*, which a writer holds while it waits to write, and
- the *turn*, which it holds while it writes.

A writer that has written and wants to write again finds the queue locked by the one that waits, and
is behind it. SQLite's own lock still protects the data: programs that know nothing of turns are
waited for as before.

The locks are POSIX record locks (`fcntl.lockf`): the system releases them when a process ends,
however it ends. They belong to a process, so the threads of one use a lock of their own first.
"""

from __future__ import annotations

import fcntl
import os
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from weakref import WeakKeyDictionary, finalize

from sqlalchemy import Engine

_QUEUE, _TURN = 0, 1  # the bytes that are locked
# Seconds between two attempts: the transaction that is waited for takes milliseconds.
_PAUSE = 0.0005
_LONG_PAUSE = 0.005
_SHORT_PAUSES = 200  # after which the pause is the long one


@dataclass(slots=True, eq=False)
class WriteTurns:
    """The turns at one file. Any thread may call `take` and then `give_back`.

    `descriptor`: of the file next to the store; None where it cannot be opened, and then only the
    threads of this process take turns.
    """

    descriptor: int | None
    _threads: threading.Lock = field(default_factory=threading.Lock)

    def take(self, *, deadline: float) -> bool:
        """Wait for the turn until `deadline`, a time of `time.monotonic`; tell whether it came."""
        if not self._threads.acquire(timeout=max(deadline - time.monotonic(), 0)):
            return False
        if self.descriptor is None:
            return True
        has_turn = False
        if self._lock(_QUEUE, deadline):
            has_turn = self._lock(_TURN, deadline)
            self._unlock(_QUEUE)
        if not has_turn:
            self._threads.release()
        return has_turn

    def give_back(self) -> None:
        """Let the next writer begin."""
        if self.descriptor is not None:
            self._unlock(_TURN)
        self._threads.release()

    def _lock(self, byte: int, deadline: float) -> bool:
        """Lock a byte. There is no blocking call with a time limit, so this tries repeatedly."""
        assert self.descriptor is not None
        attempts = 0
        while True:
            try:
                fcntl.lockf(self.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, byte)
            except (BlockingIOError, PermissionError):  # fcntl(2): EAGAIN or EACCES
                if time.monotonic() >= deadline:
                    return False
                attempts += 1
                time.sleep(_PAUSE if attempts < _SHORT_PAUSES else _LONG_PAUSE)
            else:
                return True

    def _unlock(self, byte: int) -> None:
        assert self.descriptor is not None
        fcntl.lockf(self.descriptor, fcntl.LOCK_UN, 1, byte)


# The dictionary is guarded by `_turns_lock`; its values have locks themselves.
_turns: WeakKeyDictionary[Engine, WriteTurns] = WeakKeyDictionary()
_turns_lock = threading.Lock()


def find_turns(engine: Engine) -> WriteTurns:
    """Return the turns at the SQLite store of an engine, the same object for all its threads.

    The file is closed with the engine. That releases the locks of other engines of this process on
    the same store, which then wait for SQLite's lock alone.
    """
    with _turns_lock:
        turns = _turns.get(engine)
        if turns is None:
            turns = _turns[engine] = WriteTurns(_open_file(engine.url.database or ""))
            if turns.descriptor is not None:
                finalize(engine, os.close, turns.descriptor)
        return turns


def _open_file(database: str) -> int | None:
    """Open the file next to the store whose bytes are locked, and create it if there is none.

    It gets the mode, and from root the owner, of the store, as SQLite does it for its own files: a
    command that root runs must not keep the daemon out.
    """
    path = f"{os.path.realpath(database)}-turns"
    try:
        status = Path(database).stat()
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, status.st_mode & 0o777)
    except OSError:
        return None  # the next write reports what is wrong with the store
    if os.geteuid() == 0 and os.fstat(descriptor).st_uid != status.st_uid:
        os.fchown(descriptor, status.st_uid, status.st_gid)
    return descriptor
