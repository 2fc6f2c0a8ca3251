"""Name a process, for what it claims in the database."""

from __future__ import annotations

import os
import socket
import uuid


def make_identity() -> str:
    """Return a name that no other process has, on any machine."""
    return f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}"
