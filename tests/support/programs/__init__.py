"""`ingest` with a part of it replaced, as programs: `ingest(…, program=SOON_STUCK)`.

Each is a module that is run in place of `-m ingest`, so that what it replaces is imported and
checked by name.
"""

from __future__ import annotations

from types import ModuleType

BROKEN = f"{__name__}.broken"
IMPATIENT_WORKERS = f"{__name__}.impatient_workers"
LATE_IMPORTS = f"{__name__}.late_imports"
LITTLE_MEMORY = f"{__name__}.little_memory"
OBEDIENT = f"{__name__}.obedient"
SHORT_DRAIN = f"{__name__}.short_drain"
SHORT_LEASE = f"{__name__}.short_lease"
SMALL_BATCHES = f"{__name__}.small_batches"
SOON_RESTARTED = f"{__name__}.soon_restarted"
SOON_IMPATIENT = f"{__name__}.soon_impatient"
SOON_KILLED = f"{__name__}.soon_killed"
SOON_STUCK = f"{__name__}.soon_stuck"


def replace(module: ModuleType, **values: object) -> None:
    """Set names of a module, which must have them."""
    for name, value in values.items():
        assert hasattr(module, name), f"{module.__name__} has no {name}"
        setattr(module, name, value)
