"""Build the URLs in records, by the version of the API that the client requested.

Their shapes are Patchwork's. Its clients take URLs from records and do not build them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from ingest.config.settings import Config
from ingest.series.outcome import Outcome
from ingest.store.read.messages import ListRow
from ingest.store.site.list_records import is_list_variant
from ingest.store.site.numbers import shown_number

VERSIONS = ((1, 0), (1, 1), (1, 2), (1, 3), (1, 4))

# Characters that are not percent-encoded in a path, so that Message-IDs stay readable. A slash is
# encoded: clients resolve "/../", and an id that contains it would lead them to another message.
_UNQUOTED = "@:+=!$&'()*,;~"

# Clients resolve these before they send a URL, even percent-encoded (RFC 3986 2.3, 5.2.4).
_DOT_SEGMENTS = (".", "..")

# The version of the API that a field was added in, by record. Version 1.0 has all others.
_SINCE: dict[str, dict[str, tuple[int, int]]] = {
    "project": {
        "subject_match": (1, 1),
        "list_archive_url": (1, 2),
        "list_archive_url_format": (1, 2),
        "commit_url_format": (1, 2),
        "show_dependencies": (1, 4),
    },
    "patch": {
        "comments": (1, 1),
        "web_url": (1, 1),
        "list_archive_url": (1, 2),
        "related": (1, 2),
        "state_evidence": (1, 4),
    },
    "cover": {"web_url": (1, 1), "mbox": (1, 1), "comments": (1, 1), "list_archive_url": (1, 2)},
    "series": {"web_url": (1, 1), "dependencies": (1, 4), "dependents": (1, 4)},
    "comment": {
        "url": (1, 3),
        "web_url": (1, 1),
        "list_archive_url": (1, 2),
        "addressed": (1, 3),
    },
    "event": {},
    "user": {"settings": (1, 2)},
    "bundle": {"web_url": (1, 1)},
}


def path_of(*parts: str) -> str:
    """Return the path that consists of these parts, with a slash at its end.

    Each part stays one part whatever it contains. `.` and `..`, which cannot be names in URLs,
    become `-`.
    """
    names = ("-" if part in _DOT_SEGMENTS else part for part in parts)
    return "/" + "".join(f"{quote(name, safe=_UNQUOTED)}/" for name in names)


def name_of(msgid: str) -> str:
    """Return the part of a path that names a Message-ID: the id without its angle brackets.

    `<.>` and `<..>` keep their brackets.
    """
    bare = msgid.removeprefix("<").removesuffix(">")
    return msgid if bare in _DOT_SEGMENTS else bare


def msgid_of(name: str) -> str:
    """Return the Message-ID that a part of a path names; the inverse of `name_of`."""
    return name if name.startswith("<") and name.endswith(">") else f"<{name}>"


@dataclass(frozen=True, slots=True)
class UrlBuilder:
    """Builds the URLs of one server for one version of the API.

    `query` is added to those of resources: a client that wants a `format` gets it from them too.
    `is_imported`: the site was Patchwork's, and its versions have Patchwork's fields only.

    `base` is the server's URL without a slash at its end. `version` is None where the client
    requested none, which is the newest.
    """

    base: str
    config: Config
    version: tuple[int, int] | None = (1, 2)
    query: str = ""
    is_imported: bool = False

    def url(self, *parts: object) -> str:
        """Return the URL of a resource of the API."""
        version = f"/{self.version[0]}.{self.version[1]}" if self.version else ""
        path = "/".join(str(part) for part in parts)
        return f"{self.base}/api{version}/{path}/{self.query}"

    def number(self, message_id: int, outcome: Outcome) -> int:
        """Return the number of a patch, cover or comment that clients see."""
        return shown_number(message_id, outcome)

    def unversioned(self, *parts: object) -> str:
        """Return the URL of a resource without a version, as Patchwork links comments."""
        return f"{self.base}/api/{'/'.join(str(part) for part in parts)}/"

    def message_page(self, kind: str, lists: tuple[ListRow, ...], msgid: str) -> str:
        """Return the URL of a message's page."""
        link = self.link_name(lists[0]) if lists else "-"
        return f"{self.base}{path_of('project', link, kind, name_of(msgid))}"

    def mbox(
        self, kind: str, lists: tuple[ListRow, ...], msgid: str, variant: str, id_: int
    ) -> str:
        """Return the URL of a message as input for git am.

        A conflicting copy is named by its number, because it shares its Message-ID.
        """
        if variant and not is_list_variant(variant):
            return f"{self.base}/{kind}/{id_}/mbox/"
        return f"{self.message_page(kind, lists, msgid)}mbox/"

    def bundle_page(self, owner: str, name: str) -> str:
        """Return the URL of a bundle's page."""
        return f"{self.base}{path_of('bundle', owner, name)}"

    def archive(self, lists: tuple[ListRow, ...], msgid: str) -> str | None:
        """Return the URL of a message in its list's archive, None where none is configured."""
        configured = self.config.find_list(lists[0].list_id) if lists else None
        if configured is None or not configured.list_archive_url_format:
            return None
        # The configured format may have the name in a query.
        name = quote(name_of(msgid), safe=_UNQUOTED.replace("&", ""))
        return configured.list_archive_url_format.replace("{}", name)

    def link_name(self, row: ListRow) -> str:
        """Return the name of a list in a path."""
        return self.config.link_name(row.list_id)

    def trim(self, kind: str, record: dict[str, Any]) -> dict[str, Any]:
        """Return the record without the fields that the requested version does not have."""
        if self.version is None:
            return record
        since = _SINCE[kind]
        return {
            name: value
            for name, value in record.items()
            if name not in since or since[name] <= self.version
        }

    @property
    def has_own_fields(self) -> bool:
        """Return whether records have fields that Patchwork's do not have."""
        return self.version is None or (not self.is_imported and self.version >= (1, 4))

    def since(self, version: tuple[int, int]) -> bool:
        """Return whether the requested version is this one or a later one."""
        return self.version is None or self.version >= version
