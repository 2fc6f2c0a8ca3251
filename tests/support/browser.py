"""Drive a headless Chromium by WebDriver (W3C) over HTTP, and run axe from npm."""

from __future__ import annotations

import base64
import contextlib
import json
import shutil
import subprocess
import tarfile
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.support.places import free_port
from tests.support.waiting import until

AXE = "axe-core@4.10.3"
# Without these it requests updates and the like, to which nothing responds here.
QUIET = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--disable-dev-shm-usage", "--hide-scrollbars",
)  # fmt: skip


def programs() -> tuple[str, str] | None:
    """Return the browser and its driver, None where one is missing."""
    browser, driver = shutil.which("chromium"), shutil.which("chromedriver")
    return (browser, driver) if browser and driver else None


class Browser:
    """One window."""

    def __init__(self, session: str) -> None:
        self._session = session

    def open(self, url: str) -> None:
        _call(f"{self._session}/url", {"url": url})

    def size(self, width: int, height: int = 900) -> None:
        """Return the size of the page on a device of that width (a window cannot be so narrow)."""
        command = {
            "cmd": "Emulation.setDeviceMetricsOverride",
            "params": {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False},
        }
        _call(f"{self._session}/goog/cdp/execute", command)

    def run(self, script: str, *words: Any) -> Any:
        """Run JavaScript in the page. Return its result."""
        return _call(f"{self._session}/execute/sync", {"script": script, "args": list(words)})

    def run_async(self, script: str) -> Any:
        """Run a script that passes its result to its last argument. Return the result."""
        return _call(f"{self._session}/execute/async", {"script": script, "args": []})

    def picture(self, path: Path) -> None:
        path.write_bytes(base64.b64decode(_call(f"{self._session}/screenshot", None)))

    def complaints(self) -> list[str]:
        """Return what the browser has logged since the last call: blocked loads, errors."""
        found = _call(f"{self._session}/se/log", {"type": "browser"})
        return [entry["message"] for entry in found]


@contextlib.contextmanager
def browser(folder: Path) -> Iterator[Browser]:
    found = programs()
    assert found is not None
    port = free_port()
    driver = subprocess.Popen(
        [found[1], f"--port={port}", "--silent"],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    base = f"http://127.0.0.1:{port}"
    try:
        until(lambda: _ready(base), "chromedriver")
        options = {"binary": found[0], "args": [*QUIET, f"--user-data-dir={folder}"]}
        wanted = {
            "browserName": "chrome",
            "goog:chromeOptions": options,
            "goog:loggingPrefs": {"browser": "ALL"},
        }
        made = _call(f"{base}/session", {"capabilities": {"alwaysMatch": wanted}})
        session = f"{base}/session/{made['sessionId']}"
        try:
            yield Browser(session)
        finally:
            _call(session, None, method="DELETE")
    finally:
        driver.terminate()
        driver.wait(30)


def _ready(base: str) -> bool:
    try:
        return bool(_call(f"{base}/status", None)["ready"])
    except OSError:
        return False


def _call(url: str, given: dict[str, Any] | None, *, method: str | None = None) -> Any:
    body = json.dumps(given).encode() if given is not None else None
    request = urllib.request.Request(
        url, data=body, method=method, headers={"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=120) as answer:
        return json.load(answer)["value"]


def axe(folder: Path) -> str | None:
    """Return the source of axe, or None where npm cannot get it."""
    npm = shutil.which("npm")
    if npm is None:
        return None
    done = subprocess.run(
        [npm, "pack", "--silent", AXE], cwd=folder, capture_output=True, text=True, check=False,
        timeout=120,
    )  # fmt: skip
    if done.returncode:
        return None
    with tarfile.open(folder / done.stdout.split()[-1]) as packed:
        member = packed.extractfile("package/axe.min.js")
        assert member is not None
        return member.read().decode()
