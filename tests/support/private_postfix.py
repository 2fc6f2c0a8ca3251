"""Run a Postfix for one test, on a port of 127.0.0.1 and with a folder in /tmp.

It hands mail for DOMAIN to the daemon by LMTP and mail for PIPE_DOMAIN to `ingest pipe`, as
docs/operation.md says, but for the paths and the users. It needs root, since `master` starts
programs as several users.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.paths import ROOT
from tests.support.places import free_port

DOMAIN = "lists.test"
PIPE_DOMAIN = "pipe.test"
HOST = "mx.test"

# As in docs/operation.md.
MAIN = """\
relay_domains = {domain}, {pipe_domain}
relay_recipient_maps =
transport_maps = texthash:{etc}/transport
lmtp_line_length_limit = 0
message_size_limit = 52428800
ingest-lmtp_destination_recipient_limit = 50
ingest-lmtp_destination_concurrency_limit = 20
ingest-pipe_destination_recipient_limit = 1
ingest-pipe_destination_concurrency_limit = 4
"""
MASTER = """\
ingest-lmtp unix - - n - - lmtp
  -o lmtp_line_length_limit=0
ingest-pipe unix - n n - 4 pipe
  flags=q user={user} null_sender=
  argv={program} --socket {socket} -f ${{sender}} -- ${{recipient}}
"""
TRANSPORT = """\
{domain}    ingest-lmtp:unix:{socket}
{pipe_domain}    ingest-pipe:
"""

# What makes it private, and quick to try again.
PRIVATE_MAIN = """\
compatibility_level = 3.6
queue_directory = {folder}/spool
data_directory = {folder}/data
command_directory = {commands}
daemon_directory = {daemons}
meta_directory = {meta}
shlib_directory = {libraries}
maillog_file = {folder}/log/maillog
maillog_file_prefixes = {folder}
myhostname = {host}
mydomain = {host}
mydestination =
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mynetworks = 127.0.0.0/8
disable_dns_lookups = yes
smtp_host_lookup = native
alias_maps =
alias_database =
local_recipient_maps =
biff = no
default_process_limit = 60
minimal_backoff_time = 1s
maximal_backoff_time = 3s
queue_run_delay = 1s
# An outage is to be met by many deliveries; and bounces go nowhere.
ingest-lmtp_destination_concurrency_failed_cohort_limit = 0
ingest-pipe_destination_concurrency_failed_cohort_limit = 0
default_transport = discard
smtpd_client_connection_count_limit = 0
smtpd_client_connection_rate_limit = 0
smtpd_recipient_limit = 1000
"""
PRIVATE_MASTER = """\
127.0.0.1:{port} inet n - n - - smtpd
pickup    unix  n - n 60 1 pickup
cleanup   unix  n - n - 0 cleanup
qmgr      unix  n - n 300 1 qmgr
rewrite   unix  - - n - - trivial-rewrite
bounce    unix  - - n - 0 bounce
defer     unix  - - n - 0 bounce
trace     unix  - - n - 0 bounce
verify    unix  - - n - 1 verify
flush     unix  n - n 1000? 0 flush
proxymap  unix  - - n - - proxymap
error     unix  - - n - - error
retry     unix  - - n - - error
discard   unix  - - n - - discard
anvil     unix  - - n - 1 anvil
scache    unix  - - n - 1 scache
showq     unix  n - n - - showq
postlog   unix-dgram n - n - 1 postlogd
"""


class Postfix:
    """A running Postfix. `port`: where it accepts mail by SMTP."""

    def __init__(self, folder: Path, port: int) -> None:
        self.port = port
        self._etc = folder / "etc"
        self._log = folder / "log" / "maillog"

    def log(self) -> list[str]:
        return self._log.read_text(errors="replace").splitlines() if self._log.exists() else []

    def bounced(self) -> list[str]:
        """Return every log line about a recipient whose mail was returned."""
        return [line for line in self.log() if "status=bounced" in line]

    def flush(self) -> None:
        """Try all of the queue again, now."""
        self._run("postqueue", "-f")

    def queue(self) -> list[str]:
        """A line of JSON for each mail in the queue."""
        return self._run("postqueue", "-j").splitlines()

    def wait_until_empty(self, seconds: float) -> None:
        """Wait until the queue is empty. Flush it every few seconds; Postfix itself waits
        longer."""
        deadline = time.monotonic() + seconds
        while left := self.queue():
            assert time.monotonic() < deadline, f"{len(left)} in the queue: {left[:3]}"
            self.flush()
            time.sleep(1)

    def start(self) -> None:
        self._run("postfix", "start")

    def stop(self) -> None:
        self._run("postfix", "stop")

    def _run(self, *words: str) -> str:
        done = subprocess.run(
            [words[0], "-c", str(self._etc), *words[1:]],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, (words, done.stdout, done.stderr, self.log()[-5:])
        return done.stdout


@contextlib.contextmanager
def postfix(folder: Path, *, socket: Path) -> Iterator[Postfix]:
    """Start one that delivers to the daemon at `socket`; stopped when the block ends. Skips
    where there is none to start."""
    if shutil.which("postfix") is None:
        pytest.skip("Postfix is not installed")
    if os.geteuid() != 0:
        pytest.skip("Postfix runs as several users, which only root may start")
    port = free_port()
    _configure(folder, port, socket)
    made = Postfix(folder, port)
    made.start()
    try:
        yield made
    finally:
        made.stop()


def _configure(folder: Path, port: int, socket: Path) -> None:
    for name in ("etc", "spool", "data", "log"):
        (folder / name).mkdir(parents=True)
    owner = pwd.getpwnam(_default("mail_owner"))
    os.chown(folder / "data", owner.pw_uid, owner.pw_gid)
    known = {
        "folder": folder,
        "etc": folder / "etc",
        "port": port,
        "host": HOST,
        "domain": DOMAIN,
        "pipe_domain": PIPE_DOMAIN,
        "socket": socket,
        "user": "nobody",
        "program": _program(folder),
        "commands": _default("command_directory"),
        "daemons": _default("daemon_directory"),
        "meta": _default("meta_directory"),
        "libraries": _default("shlib_directory"),
    }
    for name, text in (
        ("main.cf", PRIVATE_MAIN + MAIN),
        ("master.cf", PRIVATE_MASTER + MASTER),
        ("transport", TRANSPORT),
    ):
        (folder / "etc" / name).write_text(text.format(**known))


def _default(name: str) -> str:
    """Where this Postfix has been compiled to have something; no main.cf is needed for that."""
    done = subprocess.run(
        ["postconf", "-d", "-h", name], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def _program(folder: Path) -> Path:
    """docs/postfix/ingest-pipe, with an `ingest` behind it that nobody in particular can run.

    The tests' own Python may lie in a folder that only its user may enter. `ingest pipe` needs
    the standard library alone, so that another Python and a copy of the package do as well.
    """
    copied = folder / "lib"
    shutil.copytree(ROOT / "ingest", copied / "ingest", ignore=shutil.ignore_patterns("*.pyc"))
    python = _python_for_everybody(copied)
    ingest = folder / "ingest"
    ingest.write_text(f'#!/bin/sh\nPYTHONPATH={copied} exec {python} -m ingest "$@"\n')
    script = folder / "ingest-pipe"
    text = (ROOT / "docs" / "postfix" / "ingest-pipe").read_text()
    installed = text.replace("/opt/ingest/bin/ingest", str(ingest))
    assert installed != text
    script.write_text(installed)
    for path in (ingest, script):
        path.chmod(0o755)
    return script


def _python_for_everybody(library: Path) -> str:
    nobody = pwd.getpwnam("nobody")
    for python in (sys.executable, "/usr/bin/python3", "/usr/local/bin/python3"):
        with contextlib.suppress(OSError):
            done = subprocess.run(
                [
                    python,
                    "-c",
                    "import sys, ingest.submit.pipe; sys.exit(sys.version_info < (3, 11))",
                ],
                env={"PYTHONPATH": str(library)},
                cwd="/",
                user=nobody.pw_uid,
                group=nobody.pw_gid,
                extra_groups=[],
                capture_output=True,
                check=False,
            )
            if done.returncode == 0:
                return python
    pytest.skip("the user nobody, as whom Postfix starts `ingest pipe`, can run no Python 3.11")
