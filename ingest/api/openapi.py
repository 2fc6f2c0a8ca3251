"""The description of the API, in OpenAPI 3.1, at `/api/schema`.

Written by hand beside the endpoints, and held to them by tests that read it and try it.
"""

from __future__ import annotations

from typing import Any

from ingest import __version__
from ingest.api import queries
from ingest.api.params import MAX_VALUE, MAX_VALUES
from ingest.api.urls import VERSIONS
from ingest.store.activity.checks import CHECK_STATES
from ingest.store.activity.events import Category

Schema = dict[str, Any]

_TEXT: Schema = {"type": "string"}
_MAYBE_TEXT: Schema = {"type": ["string", "null"]}
_URL: Schema = {"type": "string", "format": "uri"}
_NUMBER: Schema = {"type": "integer", "minimum": 1}
_COUNT: Schema = {"type": "integer", "minimum": 0}
_FLAG: Schema = {"type": "boolean"}
_DATE: Schema = {
    "type": "string",
    "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{6})?$",
    "description": "UTC, ISO 8601, without offset.",
}
_MAYBE_DATE: Schema = {**_DATE, "type": ["string", "null"]}
_MOMENT: Schema = {
    "type": "string",
    "pattern": r"^[12]\d{3}-(0[1-9]|1[0-2])-(0[1-9]|1\d|2[0-8])"
    r"(T([01]\d|2[0-3]):[0-5]\d:[0-5]\d(Z|[+-](0\d|1[0-2]):[0-5]\d)?)?$",
    "description": "ISO 8601, with an offset or in UTC. Other spellings of it are taken too.",
}
# What a query may hold: NUL is refused.
_VALUE: Schema = {"type": "string", "maxLength": MAX_VALUE, "pattern": r"^[^\u0000]*$"}
_ID: Schema = {"type": "integer", "minimum": 0, "maximum": 2**63 - 1}


def describe_api(version: tuple[int, int] | None) -> Schema:
    """The document. Fields and paths that the version asked for has not are in it all the same
    where clients may meet them without it; records list what every version has as required.
    """
    prefix = f"/api/{version[0]}.{version[1]}" if version in VERSIONS and version else "/api"
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Patches, series and reviews",
            "version": __version__,
            "description": "Patchwork's REST API over the records of this store.",
            "license": {"name": "MIT"},
        },
        "paths": {f"{prefix}{path}": made for path, made in _paths().items()} | _files(),
        "components": {
            "schemas": _records(),
            "securitySchemes": {
                "token": {
                    "type": "apiKey",
                    "in": "header",
                    "name": "Authorization",
                    "description": "`Token T`, with T from `ingest token add NAME`.",
                }
            },
        },
    }


def _paths() -> dict[str, Schema]:
    dated = [_query("since", _MOMENT), _query("before", _MOMENT)]
    of_project = [_query("project", _VALUE, many=True)]
    of_messages = [
        *of_project,
        _query("series", _ID, many=True),
        _query("submitter", _VALUE, many=True),
        _query("msgid", _VALUE),
        _query("q", _VALUE),
        *dated,
    ]
    of_patches = [
        *of_messages,
        _query("state", _VALUE, many=True),
        _query("archived", _FLAG),
        _query("delegate", _VALUE, many=True),
        _query("hash", _VALUE, many=True),
    ]
    return {
        "/": {"get": _get("Where things are.", {"type": "object"})},
        "/bundles/": {"get": _list("Bundles: there are none.", {"type": "object"}, ("id", "name"))},
        "/covers/": {
            "get": _list("Cover letters.", _ref("Cover"), queries.COVER_ORDERS, of_messages)
        },
        "/covers/{id}/": _one("A cover letter.", "CoverDetail", moves=True),
        "/covers/{id}/comments/": {
            "get": _list(
                "What was replied to it.", _ref("Comment"), ("id", "date"), path=("id",), moves=True
            )
        },
        "/covers/{id}/comments/{comment_id}/": _one("A reply.", "Comment", "comment_id"),
        "/events/": {
            "get": _list(
                "What has happened, in an order that a poller can follow.",
                _ref("Event"),
                ("id", "date"),
                [
                    *of_project,
                    _query("category", {"enum": [str(one) for one in Category]}, many=True),
                    _query("series", _ID, many=True),
                    _query("patch", _ID, many=True),
                    _query("cover", _ID, many=True),
                    _query("actor", _VALUE, many=True),
                    *dated,
                ],
            )
        },
        "/patches/": {"get": _list("Patches.", _ref("Patch"), queries.PATCH_ORDERS, of_patches)},
        "/patches/{id}/": {
            **_one("A patch.", "PatchDetail", moves=True),
            "put": _write("Set what is named.", _change(), "PatchDetail"),
            "patch": _write("Set what is named.", _change(), "PatchDetail"),
        },
        "/patches/{id}/comments/": {
            "get": _list(
                "What was replied to it.", _ref("Comment"), ("id", "date"), path=("id",), moves=True
            )
        },
        "/patches/{id}/comments/{comment_id}/": _one("A reply.", "Comment", "comment_id"),
        "/patches/{id}/checks/": {
            "get": _list(
                "What CI found.",
                _ref("Check"),
                ("id", "date"),
                [
                    _query("user", _VALUE, many=True),
                    _query("state", {"enum": list(CHECK_STATES)}, many=True),
                    _query("context", _VALUE, many=True),
                    *dated,
                ],
                path=("id",),
                moves=True,
            ),
            "post": _write("Say what CI found.", _new_check(), "Check", status="201"),
        },
        "/patches/{id}/checks/{check_id}/": _one("What CI found.", "Check", "check_id"),
        "/people/": {
            "get": _list(
                "Submitters.", _ref("Person"), ("id", "name"), [_query("q", _VALUE)], token=True
            )
        },
        "/people/{id}/": _one("A submitter.", "Person", token=True),
        "/projects/": {
            "get": _list("Mailing lists.", _ref("Project"), ("id", "name"), [_query("q", _VALUE)])
        },
        "/projects/{id}/": {
            "get": _get(
                "A mailing list, by number or link name.", _ref("Project"), [_path("id", _TEXT)]
            )
        },
        "/series/": {
            "get": _list(
                "Series.",
                _ref("Series"),
                queries.SERIES_ORDERS,
                [*of_project, _query("submitter", _VALUE, many=True), _query("q", _VALUE), *dated],
            )
        },
        "/series/{id}/": _one("A series.", "Series", moves=True),
        "/users/": {
            "get": _list(
                "Those who have, or had, a token.", _ref("User"), ("id", "name"),
                [_query("q", _VALUE)], token=True,
            )
        },
        "/users/{id}/": _one("One of them.", "User", token=True),
    }  # fmt: skip


def _files() -> dict[str, Schema]:
    return {
        "/patch/{id}/mbox/": {"get": _file("A patch for git am.", [_query("series", _VALUE)])},
        "/patch/{id}/raw/": {"get": _file("A patch's diff.", kind="text/x-patch")},
        "/cover/{id}/mbox/": {"get": _file("A cover letter.")},
        "/series/{id}/mbox/": {"get": _file("A series for git am.")},
        "/series/{id}/raw/": {"get": _file("A series' diffs.", kind="text/x-patch")},
    }


# --- operations ------------------------------------------------------------------------------


def _query(name: str, schema: Schema, *, many: bool = False) -> Schema:
    made = {"type": "array", "items": schema, "maxItems": MAX_VALUES} if many else schema
    return {"name": name, "in": "query", "schema": made}


def _path(name: str, schema: Schema = _ID) -> Schema:
    return {"name": name, "in": "path", "required": True, "schema": schema}


def _json(schema: Schema) -> Schema:
    return {"application/json": {"schema": schema}}


def _answers(
    schema: Schema, *, said: tuple[str, ...] = (), status: str = "200", moves: bool = False
) -> Schema:
    why = {
        "400": "A parameter or the body makes no sense.",
        "403": "No token, one of nobody's, or one for other projects.",
        "404": "There is no such thing, or no such page.",
        "413": "The body is too large.",
        "415": "The body is neither JSON nor a form.",
    }
    every = {"400", "404", *said}
    found: Schema = {status: {"description": "As asked.", "content": _json(schema)}}
    found |= {
        one: {"description": why[one], "content": _json(_ref("Error"))}
        for one in why
        if one in every
    }
    if moves:
        found["301"] = {
            "description": "It was joined into another.",
            "headers": {"Location": {"schema": _URL}},
        }
    for status_, text in (("429", "Too many requests."), ("503", "The database is away.")):
        found[status_] = {
            "description": text,
            "headers": {"Retry-After": {"schema": _COUNT}},
            "content": _json(_ref("Error")),
        }
    return found


_TOKEN: Schema = {"security": [{"token": []}]}


def _get(summary: str, schema: Schema, parameters: list[Schema] | None = None) -> Schema:
    return {"summary": summary, "parameters": parameters or [], "responses": _answers(schema)}


def _one(summary: str, name: str, *below: str, moves: bool = False, token: bool = False) -> Schema:
    return {
        "get": {
            "summary": summary,
            **(_TOKEN if token else {}),
            "parameters": [_path(one) for one in ("id", *below)],
            "responses": _answers(_ref(name), said=("403",) if token else (), moves=moves),
        }
    }


def _list(
    summary: str,
    schema: Schema,
    orders: tuple[str, ...],
    parameters: list[Schema] | None = None,
    *,
    path: tuple[str, ...] = (),
    moves: bool = False,
    token: bool = False,
) -> Schema:
    either = [sign + one for one in orders for sign in ("", "-")]
    said = ("403",) if token else ()
    made = _answers({"type": "array", "items": schema}, said=said, moves=moves)
    made["200"]["headers"] = {
        "Link": {"description": 'rel="next" and rel="prev".', "schema": _TEXT}
    }
    return {
        "summary": summary,
        **(_TOKEN if token else {}),
        "parameters": [
            *(_path(one) for one in path),
            *(parameters or []),
            _query("order", {"enum": either}),
            _query("page", {"type": "integer", "minimum": 1, "maximum": 2**31}),
            _query("per_page", {"type": "integer", "minimum": 1, "maximum": 2**31}),
        ],
        "responses": made,
    }


def _write(summary: str, body: Schema, name: str, *, status: str = "200") -> Schema:
    kinds = ("application/json", "application/x-www-form-urlencoded")
    return {
        "summary": summary,
        **_TOKEN,
        "parameters": [_path("id")],
        "requestBody": {"required": True, "content": {kind: {"schema": body} for kind in kinds}},
        "responses": _answers(_ref(name), said=("403", "413", "415"), status=status),
    }


def _file(
    summary: str, parameters: list[Schema] | None = None, *, kind: str = "text/plain"
) -> Schema:
    made = _answers({}, moves=True)
    made["200"] = {
        "description": "An attachment.",
        "headers": {"Content-Disposition": {"schema": _TEXT}},
        "content": {kind: {"schema": _TEXT}},
    }
    return {"summary": summary, "parameters": [_path("id"), *(parameters or [])], "responses": made}


def _change() -> Schema:
    return {
        "type": "object",
        "properties": {
            "state": {"type": "string", "examples": ["under-review"]},
            "archived": _FLAG,
            "commit_ref": {"type": ["string", "null"], "maxLength": 255},
            "delegate": {"type": ["integer", "null"], "description": "A user's number."},
            "related": {"type": "array", "items": _NUMBER, "maxItems": 250},
        },
    }


def _new_check() -> Schema:
    return {
        "type": "object",
        "properties": {
            "state": {"enum": list(CHECK_STATES), "default": "pending"},
            "context": {"type": "string", "pattern": r"^[A-Za-z0-9_.:/+-]{1,255}$"},
            "target_url": {"type": "string", "maxLength": 1000, "description": "http or https"},
            "description": {"type": "string", "maxLength": 1000},
        },
        "required": ["state", "context"],
    }


# --- records ---------------------------------------------------------------------------------


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def _maybe(name: str) -> Schema:
    return {"anyOf": [_ref(name), {"type": "null"}]}


def _many(name: str) -> Schema:
    return {"type": "array", "items": _ref(name)}


def _object(fields: Schema, *, later: tuple[str, ...] = ()) -> Schema:
    """`later`: fields that only later versions of the API have."""
    return {
        "type": "object",
        "properties": fields,
        "required": [name for name in fields if name not in later],
    }


def _records() -> dict[str, Schema]:
    headers = {
        "type": "object",
        "additionalProperties": {"type": ["string", "array"], "items": _TEXT},
    }
    mention = {
        "id": _NUMBER, "url": _URL, "web_url": _URL, "msgid": _TEXT,
        "list_archive_url": _MAYBE_TEXT, "date": _DATE, "name": _TEXT, "mbox": _URL,
    }  # fmt: skip
    person = {"id": _NUMBER, "url": _URL, "name": _TEXT, "email": _TEXT}
    cover = {
        "id": _NUMBER, "url": _URL, "web_url": _URL, "project": _maybe("ProjectMention"),
        "msgid": _TEXT, "list_archive_url": _MAYBE_TEXT, "date": _DATE, "name": _TEXT,
        "submitter": _ref("PersonMention"), "mbox": _URL, "series": _many("SeriesMention"),
        "comments": _URL,
    }  # fmt: skip
    patch = {
        "id": _NUMBER, "url": _URL, "web_url": _URL, "project": _maybe("ProjectMention"),
        "msgid": _TEXT, "list_archive_url": _MAYBE_TEXT, "date": _DATE, "name": _TEXT,
        "commit_ref": _MAYBE_TEXT, "pull_url": _MAYBE_TEXT, "state": _TEXT, "archived": _FLAG,
        "hash": _MAYBE_TEXT, "submitter": _ref("PersonMention"), "delegate": _maybe("User"),
        "mbox": _URL, "series": _many("SeriesMention"), "comments": _URL,
        "check": {"enum": list(CHECK_STATES)}, "checks": _URL, "tags": {"type": "object"},
        "related": _many("Mention"),
    }  # fmt: skip
    project = {
        "id": _NUMBER, "url": _URL, "name": _TEXT, "link_name": _TEXT, "list_id": _TEXT,
        "list_email": _TEXT, "web_url": _MAYBE_TEXT, "scm_url": _MAYBE_TEXT,
        "webscm_url": _MAYBE_TEXT, "list_archive_url": _TEXT, "list_archive_url_format": _TEXT,
        "commit_url_format": _TEXT,
    }  # fmt: skip
    archive = ("list_archive_url", "list_archive_url_format", "commit_url_format")
    paged = ("web_url", "comments", "list_archive_url", "related")
    return {
        "Error": {"type": "object", "minProperties": 1},
        "PersonMention": _object(person),
        "Person": _object({**person, "user": _maybe("User")}),
        "User": _object(
            {
                "id": _NUMBER, "url": _URL, "username": _TEXT, "first_name": _TEXT,
                "last_name": _TEXT, "email": _TEXT,
            }
        ),
        "ProjectMention": _object(project, later=archive),
        "Project": _object(
            {**project, "maintainers": _many("User"), "subject_match": _TEXT},
            later=(*archive, "subject_match"),
        ),
        "Mention": _object(mention, later=("web_url", "list_archive_url", "mbox")),
        "SeriesMention": _object(
            {
                "id": _NUMBER, "url": _URL, "web_url": _URL, "date": _DATE, "name": _MAYBE_TEXT,
                "version": _COUNT, "mbox": _URL,
            },
            later=("web_url",),
        ),
        "Series": _object(
            {
                "id": _NUMBER, "url": _URL, "web_url": _URL, "project": _maybe("ProjectMention"),
                "name": _MAYBE_TEXT, "date": _MAYBE_DATE, "submitter": _ref("PersonMention"),
                "version": _COUNT, "total": _NUMBER, "received_total": _COUNT,
                "received_all": _FLAG, "mbox": _URL, "cover_letter": _maybe("Mention"),
                "patches": _many("Mention"),
            },
            later=("web_url",),
        ),
        "Cover": _object(cover, later=(*paged, "mbox")),
        "CoverDetail": _object(
            {**cover, "headers": headers, "content": _TEXT}, later=(*paged, "mbox")
        ),
        "Patch": _object(patch, later=paged),
        "PatchDetail": _object(
            {
                **patch, "headers": headers, "content": _TEXT, "diff": _MAYBE_TEXT,
                "prefixes": {"type": "array", "items": _TEXT},
            },
            later=paged,
        ),
        "Comment": _object(
            {
                "id": _NUMBER, "url": _URL, "web_url": _URL, "msgid": _TEXT,
                "list_archive_url": _MAYBE_TEXT, "date": _DATE, "subject": _TEXT,
                "submitter": _ref("PersonMention"), "content": _TEXT, "headers": headers,
                "addressed": {"type": ["boolean", "null"]},
            },
            later=("url", "web_url", "list_archive_url", "addressed"),
        ),
        "Check": _object(
            {
                "id": _NUMBER, "url": _URL, "user": _maybe("User"), "date": _DATE,
                "state": {"enum": list(CHECK_STATES)}, "target_url": _MAYBE_TEXT, "context": _TEXT,
                "description": _MAYBE_TEXT,
            }
        ),
        "Event": _object(
            {
                "id": _NUMBER, "category": {"enum": [str(one) for one in Category]},
                "project": _maybe("ProjectMention"), "date": _DATE, "actor": _maybe("User"),
                "payload": {"type": "object"},
            },
            later=("actor",),
        ),
    }  # fmt: skip
