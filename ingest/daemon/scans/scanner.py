"""Keep a process that scans the configured repositories, where there are any.

Input: the configuration, again at each reload. If the process ends by itself, it is started again
after some time; nothing else of the daemon depends on it.
"""

from __future__ import annotations

import contextlib
import logging
import pickle
import subprocess
import sys
import threading
import time

from ingest.config.settings import Config
from ingest.daemon.monitoring.log import log_event
from ingest.daemon.restart import compute_delay
from ingest.daemon.scans.order import ScanOrder
from ingest.daemon.workers.pipe import FRAME

_PROGRAM = ("-m", "ingest.daemon.scans.main")
_LAST_DELAY = 60.0  # the longest wait in seconds before the process is started again
_EXIT_SECONDS = 5


class Scanner:
    """The process that scans. `start`, `reload` and `stop` are called by one thread."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._lock = threading.Lock()  # of the two below
        self._config = Config()
        self._process: subprocess.Popen[bytes] | None = None
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._supervise, name="scanner", daemon=True)
        self._wake = threading.Event()

    def start(self, config: Config) -> None:
        """Start to scan, if the configuration has repositories."""
        self._config = config
        self._thread.start()

    def reload(self, config: Config) -> None:
        """Scan by another configuration."""
        with self._lock:
            if config == self._config:
                return
            self._config = config
            if self._process is not None:
                with contextlib.suppress(OSError):
                    self._send(self._process)
        self._wake.set()

    def stop(self) -> None:
        """End the process. A scan in progress continues at the next start."""
        self._stopping.set()
        self._wake.set()
        with self._lock:
            process = self._process
        if process is not None:
            _end(process)
        if self._thread.ident is not None:
            self._thread.join(_EXIT_SECONDS)

    def _supervise(self) -> None:
        delay: float | None = None
        while not self._stopping.is_set():
            process = self._start_process()
            if process is None:
                self._wake.wait()
                self._wake.clear()
                continue
            started = time.monotonic()
            status = process.wait()
            with self._lock:
                self._process = None
            if self._stopping.is_set():
                return
            log_event("scanner-ended", logging.ERROR, status=status)
            delay = compute_delay(delay, time.monotonic() - started, longest=_LAST_DELAY)
            self._stopping.wait(delay)

    def _start_process(self) -> subprocess.Popen[bytes] | None:
        """Start the process and return it, None where there is nothing to scan or no process."""
        with self._lock:
            if self._stopping.is_set() or not _has_sources(self._config):
                return None
            # -P: do not import from the current directory of the daemon.
            process = subprocess.Popen(
                [sys.executable, "-P", *_PROGRAM],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                process_group=0,  # a terminal's ^C is for the daemon
            )
            with contextlib.suppress(OSError):  # it has ended already
                self._send(process)
            self._process = process
        return process

    def _send(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdin is not None
        order = pickle.dumps(ScanOrder(self._url, self._config), pickle.HIGHEST_PROTOCOL)
        process.stdin.write(FRAME.pack(len(order)) + order)
        process.stdin.flush()


def _has_sources(config: Config) -> bool:
    return any(
        configured.repositories or configured.maintainers_file for configured in config.lists
    )


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_EXIT_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
