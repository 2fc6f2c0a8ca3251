"""Define the errors of a database that cannot be used, and format those of the drivers."""

from __future__ import annotations


class StoreError(Exception):
    """The database cannot be used. The text is one line: what is wrong and what to do."""


class NoStoreError(StoreError):
    """There is no store, or only an empty database. `cause`: the message without what to do."""

    def __init__(self, cause: str) -> None:
        super().__init__(f"{cause}; `ingest replay SOURCE` or `ingest serve` makes a store")
        self.cause = cause


# What to do about errors, by a part of the driver's message.
_ADVICE = {
    "readonly database": "give this user the permission to write the file and its folder",
    "unable to open database file": "give this user the permission to write its folder",
    "database is locked": "another process writes to it; try again when it is done",
    "due to lock timeout": "another session holds a lock, which pg_stat_activity names",
}


def error_line(error: Exception) -> str:
    """Format a database error as one line: the driver's message, and what to do about it."""
    cause = getattr(error, "orig", None) or error
    message = " ".join(str(cause).split()) or type(cause).__name__
    for part, advice in _ADVICE.items():
        if part in message:
            return f"{message}; {advice}"
    return message
