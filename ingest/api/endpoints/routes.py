"""The routes of the API and of downloads."""

from __future__ import annotations

from urllib.parse import quote, unquote

from starlette.convertors import Convertor, register_url_convertor
from starlette.routing import BaseRoute, Route

from ingest.api.changes import bundles, comments, patches, submit, users
from ingest.api.changes import projects as project_changes
from ingest.api.changes import series as series_changes
from ingest.api.endpoints import (
    checks,
    downloads,
    events,
    index,
    messages,
    people,
    projects,
    series,
)
from ingest.api.rest.resource import Resource

_GET = ["GET"]


def api_routes() -> list[BaseRoute]:
    """Return the routes of the API and of downloads."""
    return [*(resource.route() for resource in RESOURCES), *_download_routes()]


def _describe_update(what: str) -> str:
    return f"get:\nShow {what}.\n\npatch:\nUpdate {what}.\n\nput:\nUpdate {what}."


RESOURCES = (
    Resource(path="/api", name="Index", description="Show the resources.", get=index.get_index),
    Resource(
        path="/api/schema",
        name="Schema",
        description="Show the description of the API in OpenAPI.",
        get=index.get_schema,
    ),
    Resource(
        path="/api/bundles",
        name="Bundle List",
        description="List or create bundles.",
        get=bundles.list_bundles,
        post=bundles.create_bundle,
        fields=("name", "public", "patches"),
    ),
    Resource(
        path="/api/bundles/{id:row}",
        name="Bundle Detail",
        description=(
            "get:\nShow a bundle.\n\npatch:\nUpdate a bundle.\n\nput:\nUpdate a bundle.\n\n"
            "delete:\nDelete a bundle."
        ),
        get=bundles.get_bundle,
        put=bundles.replace_bundle,
        patch=bundles.change_bundle,
        delete=bundles.remove_bundle,
        fields=("name", "public"),
    ),
    Resource(
        path="/api/covers",
        name="Cover List",
        description="List cover letters.",
        get=messages.list_covers,
    ),
    Resource(
        path="/api/covers/{id:row}",
        name="Cover Detail",
        description="Show a cover letter.",
        get=messages.get_cover,
    ),
    Resource(
        path="/api/covers/{id:row}/comments",
        name="Cover Comment List",
        description="List cover comments.",
        get=messages.list_cover_comments,
        since=(1, 1),
    ),
    Resource(
        path="/api/covers/{id:row}/comments/{comment_id:row}",
        name="Cover Comment Detail",
        description=_describe_update("a cover comment"),
        get=messages.get_cover_comment,
        put=comments.update_cover_comment,
        patch=comments.update_cover_comment,
        fields=("addressed",),
        since=(1, 3),
    ),
    Resource(
        path="/api/events", name="Event List", description="List events.", get=events.list_events
    ),
    Resource(
        path="/api/patches",
        name="Patch List",
        description="List patches.",
        get=messages.list_patches,
    ),
    Resource(
        path="/api/patches/{id:row}",
        name="Patch Detail",
        description=_describe_update("a patch"),
        get=messages.get_patch,
        put=patches.replace_patch,
        patch=patches.update_patch,
        fields=("state", "archived", "delegate", "commit_ref"),
    ),
    Resource(
        path="/api/patches/{id:row}/comments",
        name="Patch Comment List",
        description="List patch comments.",
        get=messages.list_patch_comments,
        since=(1, 1),
    ),
    Resource(
        path="/api/patches/{id:row}/comments/{comment_id:row}",
        name="Patch Comment Detail",
        description=_describe_update("a patch comment"),
        get=messages.get_patch_comment,
        put=comments.update_patch_comment,
        patch=comments.update_patch_comment,
        fields=("addressed",),
        since=(1, 3),
    ),
    Resource(
        path="/api/patches/{id:row}/checks",
        name="Check List Create",
        description="get:\nList checks.\n\npost:\nCreate a check.",
        get=checks.list_patch_checks,
        post=checks.add_patch_check,
        actions=checks.ACTIONS,
        fields=("state", "context", "target_url", "description"),
    ),
    Resource(
        path="/api/patches/{id:row}/checks/{check_id:row}",
        name="Check Detail",
        description="Show a check.",
        get=checks.get_patch_check,
    ),
    Resource(
        path="/api/people", name="Person List", description="List people.", get=people.list_people
    ),
    Resource(
        path="/api/people/{id:row}",
        name="Person Detail",
        description="Show a person.",
        get=people.get_person,
    ),
    Resource(
        path="/api/projects",
        name="Project List",
        description="List projects.",
        get=projects.list_projects,
    ),
    Resource(
        path="/api/projects/{id:part}",
        name="Project Detail",
        description=_describe_update("a project"),
        get=projects.get_project,
        put=project_changes.update_project,
        patch=project_changes.update_project,
        fields=("web_url", "scm_url", "webscm_url", "list_archive_url", "commit_url_format"),
    ),
    Resource(
        path="/api/series", name="Series List", description="List series.", get=series.list_series
    ),
    Resource(
        path="/api/series/{id:row}",
        name="Series Detail",
        description="Show a series.",
        get=series.get_series,
        patch=series_changes.update_series,
        patch_since=(1, 4),
        fields=(),
    ),
    Resource(
        path="/api/submit",
        name="Submit",
        description="Submit a mail or an mbox.",
        post=submit.submit_mail,
        max_body=submit.MAX_BODY,
    ),
    Resource(path="/api/users", name="User List", description="List users.", get=people.list_users),
    Resource(
        path="/api/users/{id:row}",
        name="User Detail",
        description=_describe_update("a user"),
        get=people.get_user,
        put=users.update_user,
        patch=users.update_user,
        fields=("first_name", "last_name", "email"),
    ),
)


def _download_routes() -> list[BaseRoute]:
    return [
        Route("/bundle/{owner:part}/{name:part}/mbox", downloads.download_bundle, methods=_GET),
        Route("/patch/{id:row}/{form:form}", downloads.download_patch, methods=_GET),
        Route("/cover/{id:row}/mbox", downloads.download_cover, methods=_GET),
        Route("/series/{id:row}/{form:form}", downloads.download_series, methods=_GET),
        Route(
            "/project/{link:part}/patch/{msgid:msgid}/{form:form}",
            downloads.download_patch_by_msgid,
            methods=_GET,
        ),
        Route(
            "/project/{link:part}/cover/{msgid:msgid}/mbox",
            downloads.download_cover_by_msgid,
            methods=_GET,
        ),
    ]


class _FormConvertor(Convertor[str]):
    """The form of a download: `mbox`, mail for git am, or `raw`, the diff."""

    regex = "mbox|raw"

    def convert(self, value: str) -> str:
        """Return the form."""
        return value

    def to_string(self, value: str) -> str:
        """Return the part of the path."""
        return value


class _PartConvertor(_FormConvertor):
    """One part of a path. It may contain a slash, which `middleware.paths` keeps quoted."""

    regex = "[^/]+"

    def convert(self, value: str) -> str:
        """Return the text of the part."""
        return unquote(value)

    def to_string(self, value: str) -> str:
        """Return the part of the path."""
        return quote(value, safe="")


class _MessageIdConvertor(_PartConvertor):
    """A Message-ID without its brackets.

    Our own URLs quote a slash in it. Patchwork's do not, and people keep such URLs. Nothing is
    resolved: `..` is part of the id.
    """

    regex = ".+"


class _RowConvertor(Convertor[int]):
    """A row number.

    More digits than any row number has do not match, and are not converted: Python refuses
    thousands of digits.
    """

    regex = "[0-9]{1,30}"

    def convert(self, value: str) -> int:
        """Return the number."""
        return int(value)

    def to_string(self, value: int) -> str:
        """Return the part of the path."""
        return str(value)


register_url_convertor("form", _FormConvertor())
register_url_convertor("part", _PartConvertor())
register_url_convertor("msgid", _MessageIdConvertor())
register_url_convertor("row", _RowConvertor())
