"""Parse the URL of a database, and remove its secrets for messages."""

from __future__ import annotations

from sqlalchemy import make_url
from sqlalchemy.engine import URL
from sqlalchemy.exc import ArgumentError

from ingest.store.database.errors import StoreError

_POSTGRES_SCHEMES = ("postgres", "postgresql", "postgresql+psycopg")
# Parameters of a URL whose values are shown. Others may hold a password or point to one.
_SHOWN_PARAMETERS = (
    "host", "port", "user", "dbname", "sslmode", "connect_timeout", "application_name",
)  # fmt: skip


def parse_url(url: str) -> URL:
    """Parse the URL of a database, and set the driver that we use.

    Raises `StoreError` for a URL of another kind of database, and for one in which user and
    password cannot be distinguished from the rest: what is taken for the host is shown in
    messages.
    """
    advice = "write sqlite:///FILE or postgresql://USER@HOST/NAME"
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise StoreError(f"not a database URL: {redact_url(url)!r}; {advice}") from None
    except ValueError:
        raise StoreError(
            f"not a database URL: {redact_url(url)!r}: the port is not a number; {advice}, and %XX "
            "for each of @ / : ? in a password"
        ) from None
    if parsed.drivername in ("sqlite", "sqlite+pysqlite"):
        return parsed.set(drivername="sqlite")
    if parsed.drivername not in _POSTGRES_SCHEMES:
        raise StoreError(
            f"no support for {parsed.drivername!r} databases; use sqlite:///FILE or postgresql://…"
        )
    if not _is_unambiguous(url):
        raise StoreError(
            f"not a database URL: {redact_url(url)!r}: write %40 for @, %2F for / and %3F for ? "
            "in a user's name or a password"
        )
    return parsed.set(drivername="postgresql+psycopg")


def redact_url(url: str | URL) -> str:
    """Return the URL without its secrets, for messages and logs, which show no other form of it.

    If a password cannot be distinguished from the rest of the URL, only the scheme is kept.
    """
    full = url if isinstance(url, str) else url.render_as_string(hide_password=False)
    scheme, separator, _ = full.partition("://")
    if not separator or not scheme.replace("+", "").isalnum():
        return full if not set(full) & set("@=:\n") else "***"
    try:
        parsed = make_url(full)
    except (ArgumentError, ValueError):
        return f"{scheme}://***"
    if parsed.drivername in ("sqlite", "sqlite+pysqlite"):
        return f"sqlite:///{parsed.database or ''}" if parsed.host is None else "sqlite://***"
    if not _is_unambiguous(full) or parsed.drivername not in _POSTGRES_SCHEMES:
        return f"{scheme}://***"
    base = parsed.set(drivername="postgresql", query={})
    query = _redact_query(full, parsed)
    return base.render_as_string(hide_password=True) + (f"?{query}" if query else "")


def _redact_query(full: str, parsed: URL) -> str:
    """Return the parameters that may be shown, with `***` for all others together."""
    shown = {key: value for key, value in parsed.query.items() if key in _SHOWN_PARAMETERS}
    has_others = "?" in full and len(shown) < full.partition("?")[2].count("&") + 1
    parameters = [
        f"{key}={value}"
        for key, values in shown.items()
        for value in ((values,) if isinstance(values, str) else values)
    ]
    return "&".join([*parameters, *(["***"] if has_others else [])])


def _is_unambiguous(url: str) -> bool:
    """Tell whether a PostgreSQL URL can be parsed in one way only.

    After an unescaped @, / or ? in a password, the rest of the password would be taken for the
    host, the name or parameters.
    """
    authority, _, path = url.partition("://")[2].partition("?")[0].partition("/")
    query = url.partition("?")[2]
    if "@" in query or "\n" in url or authority.count("@") > 1:
        return False
    return "@" not in path or not authority
