"""The tables, as SQLAlchemy Core sees them; `migrations/` makes them.

Three layers, from bytes to meaning:

- `mail` is the spool: each distinct sequence of bytes that was accepted, once, compressed.
  Rows come before anything is parsed and parsing does not alter them; `pending` says which
  of them wait for it.
- `message` is an identity: what the mails with one Message-ID and one content are, each of
  them a `copy`. A mail with other content under the same id is a message of its own, told
  apart by `variant`. `posting` says through which lists its mails came.
- `patch`, `cover` and `comment` are what a message is; a message is at most one of them,
  which the composite foreign key on (message, outcome) holds.

Beside them stands what people say (`override`, `check`, `relation`, by `account`), and what has
happened (`event`).

Times are naive UTC. Text never holds NUL or lone surrogates.
"""

from ingest.store.schema.activity import account, check, override, redirect, relation
from ingest.store.schema.base import Id, metadata, storable
from ingest.store.schema.events import event, following, webhook
from ingest.store.schema.mail import answer, auth_result, checkpoint, copy, mail, pending, verdict
from ingest.store.schema.message import (
    body,
    dependency,
    list_,
    message,
    person,
    posting,
    thread_node,
    trailer,
)
from ingest.store.schema.series import (
    comment,
    cover,
    current_state,
    member,
    patch,
    pin,
    series,
    trace,
)

__all__ = [
    "Id",
    "account",
    "answer",
    "auth_result",
    "body",
    "check",
    "checkpoint",
    "comment",
    "copy",
    "cover",
    "current_state",
    "dependency",
    "event",
    "following",
    "list_",
    "mail",
    "member",
    "message",
    "metadata",
    "override",
    "patch",
    "pending",
    "person",
    "pin",
    "posting",
    "redirect",
    "relation",
    "series",
    "storable",
    "thread_node",
    "trace",
    "trailer",
    "verdict",
    "webhook",
]
