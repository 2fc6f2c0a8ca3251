"""Name the exceptions of internal errors, and describe one as the reason of a failure."""

from __future__ import annotations

_MAX_REASON = 500  # characters of the reason of a failure

# The exceptions of an internal error, here or in the store. They are named, so that no other
# exception is hidden.
INTERNAL_ERRORS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    MemoryError,
    RecursionError,
    TypeError,
    ValueError,
)


def failure_reason(stage: str, error: Exception) -> str:
    """Return the reason of a failure: a stable name and the error's text, on one ASCII line.

    An error may quote text of the mail that no database can store; so it is escaped.
    """
    text = " ".join(str(error).split()).encode("unicode_escape").decode("ascii")
    return f"{stage}: {type(error).__name__}: {text}".rstrip(": ")[:_MAX_REASON]
