"""Define the tables for SQLAlchemy Core. `migrations/` creates them.

There are three layers, from bytes to meaning:

- `mail` is the spool: each distinct sequence of bytes that was accepted, once, compressed. Rows
  are inserted before anything is parsed, and parsing does not change them; `pending` lists those
  that wait for it.
- `message` is an identity: the mails with one Message-ID and one content are one message, and
  each of them is a `copy`. A mail with other content under the same id is a message of its own,
  distinguished by `variant`. `posting` records the lists through which its mails were received.
- `patch`, `cover` and `comment` are records: what a message is. A message is at most one of
  them, which the composite foreign key on (message, outcome) enforces. `series` and `member`
  group patches and covers.

Apart from these, `override`, `check` and `relation` hold what people and programs set through the
API, by `account`, and `event` holds what has happened. `site` has the tables of what an imported
Patchwork site has beside its mail. `repository`, `git_commit` and what belongs to them hold the
commits of configured repositories, and `landing` the patches that these were made from.

Times are naive UTC. Text never contains NUL or lone surrogates.
"""

from ingest.store.schema.activity import account, check, override, redirect, relation
from ingest.store.schema.base import metadata, name_order, storable
from ingest.store.schema.events import event, following, webhook
from ingest.store.schema.git import (
    commit_key,
    git_commit,
    landing,
    maintainers_file,
    patch_key,
    ref_commit,
    repository,
    repository_list,
    scan_status,
    scanned_ref,
)
from ingest.store.schema.listing import listing, search_progress
from ingest.store.schema.mail import (
    alias,
    answer,
    auth_result,
    checkpoint,
    copy,
    mail,
    pending,
    verdict,
)
from ingest.store.schema.message import (
    announcement,
    announcement_target,
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
    revision_link,
    series,
    state_evidence,
    trace,
)
from ingest.store.schema.site import (
    bundle,
    bundle_patch,
    comment_mark,
    imported,
    list_record,
    project,
    reserved_number,
    series_metadata,
    state,
    tag,
)

__all__ = [
    "account",
    "alias",
    "announcement",
    "announcement_target",
    "answer",
    "auth_result",
    "body",
    "bundle",
    "bundle_patch",
    "check",
    "checkpoint",
    "comment",
    "comment_mark",
    "commit_key",
    "copy",
    "cover",
    "current_state",
    "dependency",
    "event",
    "following",
    "git_commit",
    "imported",
    "landing",
    "list_",
    "list_record",
    "listing",
    "mail",
    "maintainers_file",
    "member",
    "message",
    "metadata",
    "name_order",
    "override",
    "patch",
    "patch_key",
    "pending",
    "person",
    "pin",
    "posting",
    "project",
    "redirect",
    "ref_commit",
    "relation",
    "repository",
    "repository_list",
    "reserved_number",
    "revision_link",
    "scan_status",
    "scanned_ref",
    "search_progress",
    "series",
    "series_metadata",
    "state",
    "state_evidence",
    "storable",
    "tag",
    "thread_node",
    "trace",
    "trailer",
    "verdict",
    "webhook",
]
