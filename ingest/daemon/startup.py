"""Whether the daemon can start: for `ingest check --start`, and for systemd before each start.

Input: the database's URL, the configuration and the environment. Output: what keeps `serve` from
starting, and what is worth knowing. Each thing is opened by the function that the daemon opens it
with, and closed again; nothing is written.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from ingest.config.file import API_SOCKET_MODE, Config, ConfigError
from ingest.config.packages import require_configured
from ingest.config.values import SocketAddress, UnixAddress
from ingest.daemon.listeners import tls_context
from ingest.daemon.lock_file import refuse_owned
from ingest.daemon.workers.pool import start_fault
from ingest.daemon.workers.process import WorkerLimits
from ingest.net import systemd_sockets
from ingest.net.bind import ListenError, bind_sockets
from ingest.smtp.limits import Protocol
from ingest.store.engine import StoreError, open_store, parse_url

# Folders in which systemd makes one for a unit: RuntimeDirectory= and StateDirectory=.
_MADE_BY_SYSTEMD = {Path("/run"): "RuntimeDirectory", Path("/var/lib"): "StateDirectory"}
_ANSWER_SECONDS = 10  # for systemctl


@dataclass(frozen=True, slots=True)
class Startup:
    """`faults`: what keeps the daemon from starting; `notes`: what it will make. One line each."""

    faults: tuple[str, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Place:
    """What is to be listened at. `protocol`: None where systemd never hands its socket over."""

    address: SocketAddress
    mode: int
    protocol: Protocol | None = None
    use: str = ""


def examine(url: str, config: Config, environ: Mapping[str, str]) -> Startup:
    """Find out what keeps `serve` from starting with this."""
    faults: list[str] = []
    notes: list[str] = []
    checks = (_packages(config), _tls(config), _workers(config), _database(url, environ, notes))
    for step in checks:
        faults.extend(step)
    faults.extend(_addresses(config, environ, notes))
    return Startup(tuple(faults), tuple(notes))


def _packages(config: Config) -> Iterator[str]:
    try:
        require_configured(config)
    except ConfigError as error:
        yield str(error)


def _tls(config: Config) -> Iterator[str]:
    try:
        tls_context(config)
    except ListenError as error:
        yield str(error)


def _workers(config: Config) -> Iterator[str]:
    serving = config.serve
    fault = start_fault(WorkerLimits(seconds=serving.parse_seconds, memory=serving.parse_memory))
    if fault is not None:
        yield fault


def _database(url: str, environ: Mapping[str, str], notes: list[str]) -> Iterator[str]:
    try:
        parsed = parse_url(url)
        path = Path(parsed.database or "") if parsed.drivername == "sqlite" else None
        if path is not None and parsed.database and (made := _to_be_made(path.parent, environ)):
            notes.append(made)
            return
        refuse_owned(url)
        open_store(url, create=True, dry_run=True).dispose()
        if path is not None and not path.exists():
            notes.append(f"no store at {path.absolute()} yet; `ingest serve` makes it")
    except StoreError as error:
        yield str(error)


def _addresses(config: Config, environ: Mapping[str, str], notes: list[str]) -> Iterator[str]:
    """Bind everything at the same time, so that two settings for one address are found."""
    given = [one.name for one in systemd_sockets.inherited_sockets(environ, os.getpid())]
    names = {one.value for one in Protocol}
    for name in sorted(set(given) - names):
        yield f"systemd hands over a socket named {name}; FileDescriptorName= is lmtp or smtp"
    told = _held_by_systemd()
    held = {*given, *(told or ())}
    with ExitStack() as bound:
        for place in _places(config):
            if place.protocol is not None and place.protocol.value in held:
                continue
            if isinstance(place.address, UnixAddress) and (
                made := _to_be_made(Path(place.address.path).parent, environ)
            ):
                notes.append(made)
                continue
            try:
                bound.callback(bind_sockets(place.address, mode=place.mode).close)
            except ListenError as error:
                if told is None and _by_systemd(environ) and _may_be_held(place):
                    notes.append(f"{error}, which may be systemd: it cannot be asked")
                else:
                    yield f"{place.use}{error}"


def _places(config: Config) -> Sequence[_Place]:
    serving = config.serve
    places = [
        _Place(address, serving.socket_mode, protocol)
        for protocol, addresses in ((Protocol.LMTP, serving.lmtp), (Protocol.SMTP, serving.smtp))
        for address in addresses
    ]
    if serving.metrics is not None:
        places.append(_Place(serving.metrics, 0, use="cannot serve metrics at "))
    if config.api is not None:
        places.append(_Place(config.api.listen, API_SOCKET_MODE, use="cannot serve the API at "))
    return places


def _to_be_made(folder: Path, environ: Mapping[str, str]) -> str | None:
    """What to say of a folder that systemd makes before it starts the daemon; None for others.

    Whoever is started by systemd itself has them already.
    """
    by = _MADE_BY_SYSTEMD.get(folder.parent)
    if by is None or folder.exists() or _by_systemd(environ):
        return None
    return f"no folder {folder} yet; systemd makes it ({by}= of the unit)"


def _by_systemd(environ: Mapping[str, str]) -> bool:
    """Whether systemd itself has started this process, and no shell."""
    return environ.get("SYSTEMD_EXEC_PID") == str(os.getpid())


def _may_be_held(place: _Place) -> bool:
    """Whether it may be systemd's: another's port, or one that is not for this user."""
    if place.protocol is None:
        return False
    return not isinstance(place.address, UnixAddress) or Path(place.address.path).is_socket()


def _held_by_systemd() -> set[str] | None:
    """The names of the sockets that systemd listens at, for whichever service. None where it
    cannot be asked: without D-Bus, root alone can.

    What it starts before the daemon is not told: only the daemon gets the descriptors. To connect
    would not tell either, and would start the daemon.
    """
    command = ["systemctl", "show", "--property=FileDescriptorName,ActiveState", "*.socket"]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=_ANSWER_SECONDS
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    if done.returncode != 0:
        return None
    units = [dict(_pairs(unit)) for unit in done.stdout.split("\n\n")]
    return {
        unit["FileDescriptorName"]
        for unit in units
        if unit.get("ActiveState") == "active" and "FileDescriptorName" in unit
    }


def _pairs(unit: str) -> Iterator[tuple[str, str]]:
    for line in unit.splitlines():
        key, _, value = line.partition("=")
        yield key, value
