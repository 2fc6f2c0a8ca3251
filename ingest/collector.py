"""Keep Python's collector of cyclic garbage from looking at what is no garbage.

It examines all objects that were made lately whenever there are 700 of them, and all objects there
are when the process ends.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def collector_disabled() -> Iterator[None]:
    """Disable the collector."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


@contextmanager
def loading() -> Iterator[None]:
    """Disable the collector while modules are imported, and keep their objects from it afterwards.

    These stay until the process ends. A command that shows one record makes little else: with the
    collector it takes a quarter more of the processor.
    """
    with collector_disabled():
        yield
    gc.freeze()
