"""Where records say that things are: URLs, by the version of the API that was asked.

Shapes are Patchwork's: its clients take URLs from records and do not make them up.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from ingest.config.file import Config
from ingest.store.read.messages import ListRow

VERSIONS = ((1, 0), (1, 1), (1, 2), (1, 3))

# What is left unquoted in a path: Message-IDs are to be recognised. A slash is quoted, or an id
# with "/../" in it would lead clients, which resolve that, to another message.
_PLAIN = "@:+=!$&'()*,;~"

# What URLs are resolved by before they are sent, even where it is quoted (RFC 3986 2.3, 5.2.4).
_DOTS = (".", "..")

# Fields that Patchwork has had only since a version, by the record that they are in.
_SINCE: dict[str, dict[str, tuple[int, int]]] = {
    "project": {
        "subject_match": (1, 1),
        "list_archive_url": (1, 2),
        "list_archive_url_format": (1, 2),
        "commit_url_format": (1, 2),
    },
    "patch": {
        "comments": (1, 1),
        "web_url": (1, 1),
        "list_archive_url": (1, 2),
        "related": (1, 2),
    },
    "cover": {"web_url": (1, 1), "mbox": (1, 1), "comments": (1, 1), "list_archive_url": (1, 2)},
    "series": {"web_url": (1, 1)},
    "comment": {
        "url": (1, 3),
        "web_url": (1, 1),
        "list_archive_url": (1, 2),
        "addressed": (1, 3),
    },
    "event": {"actor": (1, 2)},
}


def path_of(*parts: str) -> str:
    """Return the path that consists of these parts, with a slash at its end. Whatever a part
    holds, it is one part: `.` and `..`, which URLs cannot have for a name, are `-`.
    """
    named = ("-" if part in _DOTS else part for part in parts)
    return "/" + "".join(f"{quote(part, safe=_PLAIN)}/" for part in named)


def name_of(msgid: str) -> str:
    """Return what stands for a Message-ID in a path: the id without its brackets.

    `<.>` and `<..>` keep them.
    """
    bare = msgid.removeprefix("<").removesuffix(">")
    return msgid if bare in _DOTS else bare


def msgid_of(name: str) -> str:
    """Return the Message-ID that a part of a path stands for; the inverse of `name_of`."""
    return name if name.startswith("<") and name.endswith(">") else f"<{name}>"


@dataclass(frozen=True, slots=True)
class UrlBuilder:
    """`base`: the server's URL without a slash at its end; `version` None: none was asked for,
    which is the newest.
    """

    base: str
    config: Config
    version: tuple[int, int] | None = (1, 2)

    def url(self, *parts: object) -> str:
        """Of a resource of the API."""
        said = f"/{self.version[0]}.{self.version[1]}" if self.version else ""
        return f"{self.base}/api{said}/{'/'.join(str(part) for part in parts)}/"

    def plain(self, *parts: object) -> str:
        """Of a resource of the API, whatever the version, as Patchwork links comments."""
        return f"{self.base}/api/{'/'.join(str(part) for part in parts)}/"

    def message(self, kind: str, lists: tuple[ListRow, ...], msgid: str) -> str:
        """Of a message's page."""
        link = self.link_name(lists[0]) if lists else "-"
        return f"{self.base}{path_of('project', link, kind, name_of(msgid))}"

    def mbox(
        self, kind: str, lists: tuple[ListRow, ...], msgid: str, variant: str, id_: int
    ) -> str:
        """Of a message for git am. Its Message-ID does not tell a conflicting copy apart."""
        if variant:
            return f"{self.base}/{kind}/{id_}/mbox/"
        return f"{self.message(kind, lists, msgid)}mbox/"

    def archive(self, lists: tuple[ListRow, ...], msgid: str) -> str | None:
        """Of a message in the list's archive, where the configuration says how."""
        known = self.config.find_list(lists[0].list_id) if lists else None
        if known is None or not known.list_archive_url_format:
            return None
        # The place may be in a query, too.
        name = quote(name_of(msgid), safe=_PLAIN.replace("&", ""))
        return known.list_archive_url_format.replace("{}", name)

    def link_name(self, row: ListRow) -> str:
        """What the list is called in a path."""
        return self.config.link_name(row.list_id)

    def trim(self, kind: str, record: dict[str, Any]) -> dict[str, Any]:
        """Leave out what the version asked for does not have."""
        if self.version is None:
            return record
        since = _SINCE[kind]
        return {
            name: value
            for name, value in record.items()
            if name not in since or since[name] <= self.version
        }

    def since(self, version: tuple[int, int]) -> bool:
        return self.version is None or self.version >= version
