"""Define what both ends of a worker's pipe know: frames, exit statuses and the limit of memory."""

from __future__ import annotations

import resource
import struct

FRAME = struct.Struct("!Q")  # the length of what follows, in bytes
# Exit statuses of our own, above those that Python and the shell use.
MEMORY_STATUS = 83
PIPE_CLOSED_STATUS = 84


def memory_limit(memory: int) -> int:
    """Return the limit that applies to a child process: a hard limit cannot be raised."""
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    return memory if hard == resource.RLIM_INFINITY else min(memory, hard)
