"""Check whether the daemon can start: for `ingest check --start`, and for systemd.

Input: the URL of the database, the configuration and the environment. Output: errors that keep
`serve` from starting, and notes. Everything is opened by the function that the daemon uses, and
closed again; nothing is written.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from ingest.config.packages import require_configured
from ingest.config.settings import API_SOCKET_MODE, Config, ConfigError
from ingest.config.sockets import SocketAddress, UnixAddress
from ingest.daemon.addresses import tls_context
from ingest.daemon.lock_file import check_unlocked
from ingest.daemon.workers.pool import find_start_error
from ingest.daemon.workers.process import WorkerLimits
from ingest.net import systemd_sockets
from ingest.net.bind import ListenError, bind_sockets
from ingest.smtp.limits import Protocol
from ingest.store.database.engine import open_store
from ingest.store.database.errors import StoreError
from ingest.store.database.url import parse_url

# Directories in which systemd makes one for a unit: RuntimeDirectory= and StateDirectory=.
_SYSTEMD_DIRECTORIES = {Path("/run"): "RuntimeDirectory", Path("/var/lib"): "StateDirectory"}
_SYSTEMCTL_SECONDS = 10


@dataclass(frozen=True, slots=True)
class StartupReport:
    """`errors` keep the daemon from starting; `notes` say what will be made. One line each."""

    errors: tuple[str, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Binding:
    """An address to bind. `protocol`: None where systemd never passes a socket for it."""

    address: SocketAddress
    mode: int
    protocol: Protocol | None = None
    prefix: str = ""  # of the error message


def check_startup(url: str, config: Config, environ: Mapping[str, str]) -> StartupReport:
    """Find out what keeps `serve` from starting."""
    errors: list[str] = []
    notes: list[str] = []
    errors += _check_packages(config)
    errors += _check_tls(config)
    errors += _check_workers(config)
    errors += _check_database(url, environ, notes)
    errors += _check_addresses(config, environ, notes)
    return StartupReport(tuple(errors), tuple(notes))


def _check_packages(config: Config) -> Iterator[str]:
    try:
        require_configured(config)
    except ConfigError as error:
        yield str(error)


def _check_tls(config: Config) -> Iterator[str]:
    try:
        tls_context(config)
    except ListenError as error:
        yield str(error)


def _check_workers(config: Config) -> Iterator[str]:
    settings = config.serve
    limits = WorkerLimits(seconds=settings.parse_seconds, memory=settings.parse_memory)
    error = find_start_error(limits)
    if error is not None:
        yield error


def _check_database(url: str, environ: Mapping[str, str], notes: list[str]) -> Iterator[str]:
    try:
        parsed = parse_url(url)
        path = Path(parsed.database or "") if parsed.drivername == "sqlite" else None
        if path is not None and parsed.database:
            note = _note_missing_directory(path.parent, environ)
            if note is not None:
                notes.append(note)
                return
        check_unlocked(url)
        open_store(url, create=True, dry_run=True).dispose()
        if path is not None and not path.exists():
            notes.append(f"no store at {path.absolute()} yet; `ingest serve` makes it")
    except StoreError as error:
        yield str(error)


def _check_addresses(config: Config, environ: Mapping[str, str], notes: list[str]) -> Iterator[str]:
    """Bind all addresses at the same time, so that two settings for one address are found."""
    inherited = systemd_sockets.inherited_sockets(environ, os.getpid())
    passed = {inherited_socket.name for inherited_socket in inherited}
    for name in sorted(passed - {protocol.value for protocol in Protocol}):
        yield f"systemd passes a socket named {name}; FileDescriptorName= must be lmtp or smtp"
    active = _active_systemd_sockets()
    provided = passed | (active or set())
    with ExitStack() as endpoints:
        for binding in _bindings(config):
            if binding.protocol is not None and binding.protocol.value in provided:
                continue
            if isinstance(binding.address, UnixAddress):
                note = _note_missing_directory(Path(binding.address.path).parent, environ)
                if note is not None:
                    notes.append(note)
                    continue
            try:
                endpoint = bind_sockets(binding.address, mode=binding.mode)
                endpoints.callback(endpoint.close)
            except ListenError as error:
                if active is None and _is_started_by_systemd(environ) and _may_be_systemd(binding):
                    notes.append(f"{error}; it may be systemd, which cannot be queried")
                else:
                    yield f"{binding.prefix}{error}"


def _bindings(config: Config) -> Sequence[_Binding]:
    settings = config.serve
    bindings = [
        _Binding(address, settings.socket_mode, protocol)
        for protocol, addresses in ((Protocol.LMTP, settings.lmtp), (Protocol.SMTP, settings.smtp))
        for address in addresses
    ]
    if settings.metrics is not None:
        bindings.append(_Binding(settings.metrics, 0, prefix="cannot serve metrics at "))
    if config.api is not None:
        bindings.append(
            _Binding(config.api.listen, API_SOCKET_MODE, prefix="cannot serve the API at ")
        )
    return bindings


def _note_missing_directory(directory: Path, environ: Mapping[str, str]) -> str | None:
    """Return a note on a directory that systemd makes before it starts the daemon, else None.

    A process that systemd itself has started has these directories already.
    """
    setting = _SYSTEMD_DIRECTORIES.get(directory.parent)
    if setting is None or directory.exists() or _is_started_by_systemd(environ):
        return None
    return f"no directory {directory} yet; systemd makes it ({setting}= of the unit)"


def _is_started_by_systemd(environ: Mapping[str, str]) -> bool:
    """Tell whether systemd itself has started this process, and not a shell."""
    return environ.get("SYSTEMD_EXEC_PID") == str(os.getpid())


def _may_be_systemd(binding: _Binding) -> bool:
    """Tell whether systemd may be listening: the port or the socket file is in use."""
    if binding.protocol is None:
        return False
    address = binding.address
    return not isinstance(address, UnixAddress) or Path(address.path).is_socket()


def _active_systemd_sockets() -> set[str] | None:
    """Return the names of the sockets that systemd listens on, for whichever service.

    Returns None where systemd cannot be queried: without D-Bus, only root can. Programs that
    systemd runs before the daemon do not get the descriptors, so the environment does not tell.
    Connecting would not tell either, and would start the daemon.
    """
    command = ["systemctl", "show", "--property=FileDescriptorName,ActiveState", "*.socket"]
    try:
        process = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=_SYSTEMCTL_SECONDS
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    if process.returncode != 0:
        return None
    units = [dict(_parse_properties(unit)) for unit in process.stdout.split("\n\n")]
    return {
        unit["FileDescriptorName"]
        for unit in units
        if unit.get("ActiveState") == "active" and "FileDescriptorName" in unit
    }


def _parse_properties(unit: str) -> Iterator[tuple[str, str]]:
    for line in unit.splitlines():
        key, _, value = line.partition("=")
        yield key, value
