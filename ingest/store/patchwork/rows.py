"""Hold the rows of a Patchwork database, as far as they are imported.

Times are as Patchwork's API shows them: naive, in the time zone of the site.
"""

from __future__ import annotations

from datetime import datetime

from ingest.frozen import frozen
from ingest.store.site.numbers import NumberKind


@frozen(kw_only=True)
class PatchworkProject:
    """A project."""

    number: int
    link_name: str
    name: str
    list_id: str
    list_email: str
    subject_match: str
    web_url: str
    scm_url: str
    webscm_url: str
    list_archive_url: str
    list_archive_url_format: str
    commit_url_format: str
    use_tags: bool
    show_dependencies: bool


@frozen(kw_only=True)
class PatchworkUser:
    """A user. `token` is that of the API; `projects` are those that the user maintains."""

    number: int
    name: str
    first_name: str
    last_name: str
    email: str
    is_active: bool
    is_superuser: bool
    joined: datetime
    token: str | None
    token_made: datetime | None
    projects: tuple[int, ...]
    send_email: bool
    items_per_page: int
    show_ids: bool


@frozen
class PatchworkPerson:
    """A submitter, and the user whose address it is."""

    number: int
    email: str
    name: str
    user: int | None


@frozen
class PatchworkRule:
    """A delegation rule."""

    path: str
    priority: int
    project: int
    user: int


@frozen(kw_only=True)
class MessageKey:
    """The identity of a patch, a cover or a comment.

    `parent` is the number of the patch or cover of a comment, `series` that of a patch's series.
    """

    kind: NumberKind
    number: int
    msgid: str
    project: int
    series: int | None
    parent: int | None


@frozen(kw_only=True)
class MessageContent:
    """What Patchwork keeps of a mail: not its bytes, but its headers and its text as parts."""

    kind: NumberKind
    number: int
    msgid: str
    headers: str
    content: str
    diff: str | None


@frozen(kw_only=True)
class PatchworkPatch:
    """What people set on a patch, and what Patchwork found in it.

    `state` is the number of a state. `related` is the number of its set of relations. `position`
    is its number in its series.
    """

    number: int
    name: str
    date: datetime
    submitter: int
    state: int | None
    archived: bool
    commit_ref: str | None
    delegate: int | None
    related: int | None
    hash: str | None
    pull_url: str | None
    series: int | None
    position: int | None


@frozen(kw_only=True)
class PatchworkCover:
    """A cover."""

    number: int
    name: str
    date: datetime
    submitter: int


@frozen(kw_only=True)
class PatchworkComment:
    """A comment. `addressed` is None where nobody has marked it."""

    kind: NumberKind
    number: int
    date: datetime
    submitter: int
    addressed: bool | None


@frozen(kw_only=True)
class PatchworkSeries:
    """A series. `cover` is the number of its cover."""

    number: int
    name: str | None
    date: datetime
    version: int
    total: int
    project: int
    submitter: int
    cover: int | None


@frozen(kw_only=True)
class PatchworkCheck:
    """The result of a test. `state` is its name."""

    number: int
    patch: int
    user: int
    date: datetime
    state: str
    target_url: str | None
    description: str | None
    context: str


@frozen(kw_only=True)
class PatchworkBundle:
    """A bundle. `patches` are their numbers, in its order."""

    number: int
    name: str
    public: bool
    owner: int
    project: int
    patches: tuple[int, ...]


@frozen(kw_only=True)
class PatchworkEvent:
    """An event. States, users and relations are numbers; `date_utc` is `date` in UTC."""

    number: int
    category: str
    date: datetime
    date_utc: datetime
    actor: int | None
    project: int
    series: int | None
    patch: int | None
    cover: int | None
    comment: tuple[NumberKind, int] | None
    check: int | None
    previous_state: int | None
    current_state: int | None
    previous_delegate: int | None
    current_delegate: int | None
    previous_relation: int | None
    current_relation: int | None
