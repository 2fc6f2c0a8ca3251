"""Classify a failed transaction: what is at fault decides what is done next."""

from __future__ import annotations

from enum import Enum, auto

from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError


class DatabaseFailure(Enum):
    """The kind of a failed transaction, which decides what to do next."""

    OUTAGE = auto()  # the database is unavailable; nothing is wrong with the mail: wait
    CONFLICT = auto()  # another writer was in the way: try again at once
    DATA = auto()  # the database rejects the content


# Classes of SQLSTATE that concern what was written (PostgreSQL, appendix A): cardinality, data
# exception, integrity constraint, program limit exceeded. All others, unknown ones included,
# leave the mail in the queue: quarantining all mail because a permission is missing would be
# worse than waiting.
_DATA_CLASSES = ("21", "22", "23", "54")
_ROLLBACK_CLASS = "40"
_DATA_ERRORS = ("DataError", "IntegrityError")  # of SQLite


def classify_failure(error: Exception) -> DatabaseFailure:
    """Return the kind of a transaction that failed with this error."""
    if isinstance(error, OSError | PoolTimeoutError):
        # The system's (no descriptor, no space, a broken disk), or no connection is free.
        return DatabaseFailure.OUTAGE
    if not isinstance(error, DBAPIError):
        return DatabaseFailure.DATA  # ours, or the driver's before it queried the database
    if error.connection_invalidated:
        return DatabaseFailure.OUTAGE
    state = getattr(error.orig, "sqlstate", None)
    if state is not None:
        if state.startswith(_ROLLBACK_CLASS):
            return DatabaseFailure.CONFLICT
        is_data = state.startswith(_DATA_CLASSES)
    else:  # SQLite, or a connection that PostgreSQL has closed without a message
        is_data = type(error.orig).__name__ in _DATA_ERRORS
    return DatabaseFailure.DATA if is_data else DatabaseFailure.OUTAGE
