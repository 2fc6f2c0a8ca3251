"""Describe the API in OpenAPI 3.1, for `/api/schema`.

The description is written by hand. Tests compare it with the responses of the endpoints.
"""

from __future__ import annotations

from typing import Any

from ingest import __version__
from ingest.api.params import MAX_VALUE, MAX_VALUES
from ingest.api.rest import limits
from ingest.api.urls import VERSIONS
from ingest.lifecycle.evidence import EvidenceKind
from ingest.store.activity.checks import CHECK_STATES
from ingest.store.activity.events import Category
from ingest.store.read.dependencies import MAX_RELATED
from ingest.store.read.pages.bundle_pages import BUNDLE_ORDERS
from ingest.store.read.pages.page_queries import COVER_ORDERS, PATCH_ORDERS, SERIES_ORDERS

Schema = dict[str, Any]

_TEXT: Schema = {"type": "string"}
_MAYBE_TEXT: Schema = {"type": ["string", "null"]}
_URL: Schema = {"type": "string", "format": "uri"}
_MAYBE_URL: Schema = {"type": ["string", "null"], "format": "uri"}
_URLS: Schema = {"type": "array", "items": _URL, "maxItems": MAX_RELATED}
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
    "description": "ISO 8601, with an offset or in UTC. Other forms of it are accepted too.",
}
_CATEGORY: Schema = {"enum": [str(category) for category in Category]}
# Text in a query. NUL is refused.
_VALUE: Schema = {"type": "string", "maxLength": MAX_VALUE, "pattern": r"^[^\u0000]*$"}
_ID: Schema = {"type": "integer", "minimum": 0, "maximum": 2**63 - 1}


def describe_api(version: tuple[int, int] | None) -> Schema:
    """Return the description for a version of the API, None for the newest.

    It also has the fields of later versions. Records list the fields that every version has as
    required.
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
        "paths": {
            f"{prefix}{path}": item
            for path, item in _paths(version).items()
            if version is None or version >= _first_version(path)
        }
        | _files(),
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


def _first_version(path: str) -> tuple[int, int]:
    """Return the first version of the API that has a path."""
    if "{comment_id}" in path:
        return (1, 3)
    return (1, 1) if path.endswith("/comments/") else (1, 0)


def _paths(version: tuple[int, int] | None) -> dict[str, Schema]:
    date_params = [_query("since", _MOMENT), _query("before", _MOMENT)]
    hint = "A part of the name; `file:PART` of the name of a file; `patchid:DIGITS` of a patch-id."
    search = _query("q", _VALUE) | {"description": hint}
    project_params = [_query("project", _VALUE, repeated=True)]
    message_params = [
        *project_params,
        _query("series", _ID, repeated=True),
        _query("submitter", _VALUE, repeated=True),
        _query("msgid", _VALUE),
        search,
        *date_params,
    ]
    patch_params = [
        *message_params,
        _query("state", _VALUE, repeated=True),
        _query("archived", _FLAG),
        _query("delegate", _VALUE, repeated=True),
        _query("hash", _VALUE, repeated=True),
    ]
    update = _write("Change the fields that are in the body.", _patch_update(), "PatchDetail")
    update["responses"]["409"] = {
        "description": "The patches have different relations.",
        "content": _json(_ref("Error")),
    }
    replacing = {**update, "summary": "Change a patch. The body has its state and delegate."}
    mark = _write("Mark a reply.", _mark(), "Comment", path=("id", "comment_id"))
    return {
        "/": {"get": _get("The URLs of the lists.", {"type": "object"})},
        "/bundles/": {
            "get": _list(
                "Bundles: the public ones, and those of the token's account.",
                _ref("Bundle"),
                BUNDLE_ORDERS,
                [
                    *project_params,
                    _query("owner", _VALUE, repeated=True),
                    _query("public", _FLAG),
                    _query("q", _VALUE),
                ],
            ),
            "post": _write("Make a bundle.", _new_bundle(), "Bundle", status="201", path=()),
        },
        "/bundles/{id}/": {
            **_detail("A bundle.", "Bundle"),
            "patch": _write("Change the fields that are in the body.", _new_bundle(), "Bundle"),
            "put": _write("Change a bundle.", _new_bundle(), "Bundle"),
            "delete": _delete("Delete a bundle."),
        },
        "/covers/": {
            "get": _list("Cover letters.", _ref("Cover"), COVER_ORDERS, message_params)
        },
        "/covers/{id}/": _detail("A cover letter.", "CoverDetail", can_move=True),
        "/covers/{id}/comments/": {
            "get": _list(
                "The replies to it.", _ref("Comment"), ("id", "date"), path=("id",), can_move=True
            )
        },
        "/covers/{id}/comments/{comment_id}/": {
            **_detail("A reply.", "Comment", "comment_id"),
            "patch": mark,
            "put": mark,
        },
        "/events/": {
            "get": _list(
                "Events, in an order that a client can poll.",
                _ref("Event"),
                ("id", "date"),
                [
                    *project_params,
                    _query("category", _CATEGORY, repeated=True),
                    _query("series", _ID, repeated=True),
                    _query("patch", _ID, repeated=True),
                    _query("cover", _ID, repeated=True),
                    _query("actor", _VALUE, repeated=True),
                    *date_params,
                ],
            )
        },
        "/patches/": {"get": _list("Patches.", _ref("Patch"), PATCH_ORDERS, patch_params)},
        "/patches/{id}/": {
            **_detail("A patch.", "PatchDetail", can_move=True),
            "put": replacing,
            "patch": update,
        },
        "/patches/{id}/comments/": {
            "get": _list(
                "The replies to it.", _ref("Comment"), ("id", "date"), path=("id",), can_move=True
            )
        },
        "/patches/{id}/comments/{comment_id}/": {
            **_detail("A reply.", "Comment", "comment_id"),
            "patch": mark,
            "put": mark,
        },
        "/patches/{id}/checks/": {
            "get": _list(
                "The results of CI for a patch.",
                _ref("Check"),
                ("id", "date"),
                [
                    _query("user", _VALUE, repeated=True),
                    _query("state", {"enum": list(CHECK_STATES)}, repeated=True),
                    _query("context", _VALUE, repeated=True),
                    *date_params,
                ],
                path=("id",),
                can_move=True,
            ),
            "post": _write("Add a result of CI.", _new_check(), "Check", status="201"),
        },
        "/patches/{id}/checks/{check_id}/": _detail("A result of CI.", "Check", "check_id"),
        "/people/": {
            "get": _list(
                "Submitters.",
                _ref("Person"),
                ("id", "name", "email"),
                [_query("q", _VALUE)],
                needs_token=True,
            )
        },
        "/people/{id}/": _detail("A submitter.", "Person", needs_token=True),
        "/projects/": {
            "get": _list("Mailing lists.", _ref("Project"), ("id", "name"), [_query("q", _VALUE)])
        },
        "/projects/{id}/": {
            "get": _get(
                "A mailing list, by number or link name.", _ref("Project"), [_path("id", _TEXT)]
            ),
            "patch": _write("Change its URLs.", _project_update(), "Project"),
            "put": _write("Change its URLs.", _project_update(), "Project"),
        },
        "/series/": {
            "get": _list(
                "Series.",
                _ref("Series"),
                SERIES_ORDERS,
                [
                    *project_params,
                    _query("submitter", _VALUE, repeated=True),
                    search,
                    _query("metadata_key", _VALUE),
                    _query("metadata_value", _VALUE),
                    *date_params,
                ],
            )
        },
        "/series/{id}/": {
            **_detail("A series.", "Series", can_move=True),
            **(
                {"patch": _write("Set metadata.", _series_update(), "Series")}
                if version is None or version >= (1, 4)
                else {}
            ),
        },
        "/submit/": {"post": _submit()},
        "/users/": {
            "get": _list(
                "Users: the names that have, or had, a token.", _ref("User"), ("id", "name"),
                [_query("q", _VALUE)], needs_token=True,
            )
        },
        "/users/{id}/": {
            **_detail("A user.", "UserDetail", needs_token=True),
            "patch": _write("Change the own account.", _user_update(), "UserDetail"),
            "put": _write("Change the own account.", _user_update(), "UserDetail"),
        },
    }  # fmt: skip


def _files() -> dict[str, Schema]:
    return {
        "/patch/{id}/mbox/": {"get": _file("A patch for git am.", [_query("series", _VALUE)])},
        "/patch/{id}/raw/": {"get": _file("The diff of a patch.", media_type="text/x-patch")},
        "/cover/{id}/mbox/": {"get": _file("A cover letter.")},
        "/series/{id}/mbox/": {"get": _file("A series for git am.")},
        "/series/{id}/raw/": {"get": _file("The diffs of a series.", media_type="text/x-patch")},
    }


# --- operations ------------------------------------------------------------------------------


def _query(name: str, schema: Schema, *, repeated: bool = False) -> Schema:
    values = {"type": "array", "items": schema, "maxItems": MAX_VALUES} if repeated else schema
    return {"name": name, "in": "query", "schema": values}


def _path(name: str, schema: Schema = _ID) -> Schema:
    return {"name": name, "in": "path", "required": True, "schema": schema}


def _json(schema: Schema) -> Schema:
    return {"application/json": {"schema": schema}}


def _responses(
    schema: Schema, *, errors: tuple[str, ...] = (), status: str = "200", can_move: bool = False
) -> Schema:
    descriptions = {
        "400": "A parameter or the body is invalid.",
        "403": "No token, an invalid one, or one for other projects.",
        "404": "There is no such resource, or no such page.",
        "413": "The body is too large.",
        "415": "The body is neither JSON nor a form.",
    }
    statuses = {"400", "404", *errors}
    responses: Schema = {status: {"description": "Success.", "content": _json(schema)}}
    responses |= {
        code: {"description": description, "content": _json(_ref("Error"))}
        for code, description in descriptions.items()
        if code in statuses
    }
    if can_move:
        responses["301"] = {
            "description": "It was merged into another.",
            "headers": {"Location": {"schema": _URL}},
        }
    for code, description in (
        ("429", "Too many requests."),
        ("503", "The database does not answer."),
    ):
        responses[code] = {
            "description": description,
            "headers": {"Retry-After": {"schema": _COUNT}},
            "content": _json(_ref("Error")),
        }
    return responses


_TOKEN: Schema = {"security": [{"token": []}]}


def _get(summary: str, schema: Schema, parameters: list[Schema] | None = None) -> Schema:
    return {"summary": summary, "parameters": parameters or [], "responses": _responses(schema)}


def _detail(
    summary: str, name: str, *path_names: str, can_move: bool = False, needs_token: bool = False
) -> Schema:
    return {
        "get": {
            "summary": summary,
            **(_TOKEN if needs_token else {}),
            "parameters": [_path(path_name) for path_name in ("id", *path_names)],
            "responses": _responses(
                _ref(name), errors=("403",) if needs_token else (), can_move=can_move
            ),
        }
    }


def _list(
    summary: str,
    schema: Schema,
    orders: tuple[str, ...],
    parameters: list[Schema] | None = None,
    *,
    path: tuple[str, ...] = (),
    can_move: bool = False,
    needs_token: bool = False,
) -> Schema:
    signed_orders = [sign + order for order in orders for sign in ("", "-")]
    errors = ("403",) if needs_token else ()
    responses = _responses({"type": "array", "items": schema}, errors=errors, can_move=can_move)
    responses["200"]["headers"] = {
        "Link": {
            "description": 'rel="next", "prev", "first", and "last" where it is known.',
            "schema": _TEXT,
        }
    }
    return {
        "summary": summary,
        **(_TOKEN if needs_token else {}),
        "parameters": [
            *(_path(name) for name in path),
            *(parameters or []),
            _query("order", {"enum": signed_orders}),
            _query("page", {"type": "integer", "minimum": 1, "maximum": 2**31}),
            _query("per_page", {"type": "integer", "minimum": 1, "maximum": 2**31}),
        ],
        "responses": responses,
    }


def _write(
    summary: str,
    body: Schema,
    name: str,
    *,
    status: str = "200",
    path: tuple[str, ...] = ("id",),
) -> Schema:
    media_types = ("application/json", "application/x-www-form-urlencoded")
    return {
        "summary": summary,
        **_TOKEN,
        "parameters": [_path(path_name) for path_name in path],
        "requestBody": {
            "required": True,
            "content": {media_type: {"schema": body} for media_type in media_types},
        },
        "responses": _responses(_ref(name), errors=("403", "413", "415"), status=status),
    }


def _delete(summary: str) -> Schema:
    responses = _responses({}, errors=("403",))
    del responses["200"]
    responses["204"] = {"description": "It is deleted."}
    return {"summary": summary, **_TOKEN, "parameters": [_path("id")], "responses": responses}


def _submit() -> Schema:
    mail: Schema = {"schema": {"type": "string"}}
    result: Schema = {
        "type": "object",
        "properties": {"mails": {"type": "array", "items": _ref("SubmittedMail")}},
        "required": ["mails"],
    }
    return {
        "summary": "Submit a mail or an mbox. It is committed before the response.",
        **_TOKEN,
        "parameters": [_query("project", _VALUE)],
        "requestBody": {
            "required": True,
            "content": dict.fromkeys(("message/rfc822", "application/mbox", "text/plain"), mail),
        },
        "responses": _responses(result, errors=("403", "413", "415"), status="201"),
    }


def _file(
    summary: str, parameters: list[Schema] | None = None, *, media_type: str = "text/plain"
) -> Schema:
    responses = _responses({}, can_move=True)
    for status in ("400", "404"):
        # Of these paths an imported site has pages, as Patchwork has.
        responses[status]["content"]["text/html"] = {"schema": _TEXT}
    responses["302"] = {
        "description": "It is at the path with its Message-ID (of an imported site).",
        "headers": {"Location": {"schema": {"type": "string", "format": "uri-reference"}}},
        "content": {"text/html": {"schema": _TEXT}},
    }
    responses["200"] = {
        "description": "An attachment.",
        "headers": {"Content-Disposition": {"schema": _TEXT}},
        "content": {media_type: {"schema": _TEXT}},
    }
    return {
        "summary": summary,
        "parameters": [_path("id"), *(parameters or [])],
        "responses": responses,
    }


def _patch_update() -> Schema:
    return {
        "type": "object",
        "properties": {
            "state": {"type": "string", "examples": ["under-review"]},
            "archived": _FLAG,
            "commit_ref": {"type": ["string", "null"], "maxLength": limits.MAX_COMMIT_REF},
            "delegate": {"type": ["integer", "null"], "description": "The number of a user."},
            "related": {"type": "array", "items": _NUMBER, "maxItems": limits.MAX_RELATED_PATCHES},
        },
    }


def _new_check() -> Schema:
    return {
        "type": "object",
        "properties": {
            "state": {"enum": list(CHECK_STATES)},
            "context": {
                "type": "string",
                "pattern": rf"^[A-Za-z0-9_/-]{{1,{limits.MAX_CHECK_CONTEXT}}}$",
                "default": "default",
            },
            "target_url": {
                "type": "string",
                "maxLength": limits.MAX_CHECK_URL,
                "description": "An http or https URL.",
            },
            "description": {"type": "string", "maxLength": limits.MAX_CHECK_DESCRIPTION},
        },
        "required": ["state"],
    }


def _new_bundle() -> Schema:
    return {
        "type": "object",
        "properties": {
            "name": {
                "type": "string",
                "minLength": 1,
                "maxLength": limits.MAX_BUNDLE_NAME,
                "pattern": "^[^/]*$",
            },
            "public": _FLAG,
            "patches": {
                "type": "array",
                "items": _NUMBER,
                "minItems": 1,
                "maxItems": limits.MAX_BUNDLE_PATCHES,
            },
        },
    }


def _mark() -> Schema:
    return {"type": "object", "properties": {"addressed": {"type": ["boolean", "null"]}}}


def _project_update() -> Schema:
    names = (
        "web_url", "scm_url", "webscm_url", "list_archive_url", "list_archive_url_format",
        "commit_url_format",
    )  # fmt: skip
    texts: Schema = {
        name: {"type": "string", "maxLength": limits.MAX_PROJECT_TEXT} for name in names
    }
    return {"type": "object", "properties": {**texts, "show_dependencies": _FLAG}}


def _user_update() -> Schema:
    return {
        "type": "object",
        "properties": {
            name: {"type": "string", "maxLength": limit}
            for name, limit in limits.MAX_USER_TEXT.items()
        },
    }


def _series_update() -> Schema:
    return {
        "type": "object",
        "properties": {
            "metadata": {
                "type": "object",
                "additionalProperties": {
                    "type": ["string", "null"],
                    "maxLength": limits.MAX_METADATA_VALUE,
                },
                "description": "Texts by key. Null deletes one.",
            }
        },
    }


# --- records ---------------------------------------------------------------------------------


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def _maybe(name: str) -> Schema:
    return {"anyOf": [_ref(name), {"type": "null"}]}


def _many(name: str) -> Schema:
    return {"type": "array", "items": _ref(name)}


def _object(fields: Schema, *, later: tuple[str, ...] = ()) -> Schema:
    """Return an object. `later` are the fields that only later versions of the API have."""
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
    later_fields = ("web_url", "comments", "list_archive_url", "related")
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
        "UserDetail": _object(
            {
                "id": _NUMBER, "url": _URL, "username": _TEXT, "first_name": _TEXT,
                "last_name": _TEXT, "email": _TEXT,
                "settings": {
                    "type": "object",
                    "properties": {
                        "send_email": _FLAG, "items_per_page": _NUMBER, "show_ids": _FLAG,
                    },
                },
            },
            later=("settings",),
        ),
        "Bundle": _object(
            {
                "id": _NUMBER, "url": _URL, "web_url": _URL, "project": _ref("ProjectMention"),
                "name": _TEXT, "owner": _ref("User"), "patches": _many("Mention"),
                "public": _FLAG, "mbox": _URL,
            },
            later=("web_url",),
        ),
        "SubmittedMail": _object({"msgid": _TEXT, "sha256": _TEXT, "is_new": _FLAG}),
        "ProjectMention": _object(project, later=archive),
        "Project": _object(
            {
                **project, "maintainers": _many("User"), "subject_match": _TEXT,
                "show_dependencies": _FLAG,
            },
            later=(*archive, "subject_match", "show_dependencies"),
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
                "patches": _many("Mention"), "dependencies": _URLS, "dependents": _URLS,
                "metadata": {"type": "object", "additionalProperties": _TEXT},
                "previous_series": _MAYBE_URL, "next_series": _MAYBE_URL,
            },
            later=(
                "web_url", "dependencies", "dependents", "metadata", "previous_series",
                "next_series",
            ),
        ),
        "Cover": _object(cover, later=(*later_fields, "mbox")),
        "CoverDetail": _object(
            {**cover, "headers": headers, "content": _TEXT}, later=(*later_fields, "mbox")
        ),
        "Patch": _object(patch, later=later_fields),
        "PatchDetail": _object(
            {
                **patch, "headers": headers, "content": _TEXT, "diff": _MAYBE_TEXT,
                "prefixes": {"type": "array", "items": _TEXT},
                "state_evidence": _many("StateEvidence"),
            },
            later=(*later_fields, "state_evidence"),
        ),
        "StateEvidence": _object(
            {
                "kind": {"enum": list(EvidenceKind)}, "state": _TEXT, "date": _DATE,
                "source": _TEXT, "commit_ref": _MAYBE_TEXT, "detail": _TEXT,
            },
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
                "id": _NUMBER, "category": _CATEGORY,
                "project": _maybe("ProjectMention"), "date": _DATE, "actor": _maybe("User"),
                "payload": {"type": "object"},
            },
        ),
    }  # fmt: skip
