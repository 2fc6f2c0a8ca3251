"""Write the configuration of the lists of a Patchwork site, to be pasted. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

from ingest.store.patchwork.rows import PatchworkProject, PatchworkRule, PatchworkUser

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")


def format_configuration(
    projects: Sequence[PatchworkProject],
    users: Sequence[PatchworkUser],
    rules: Sequence[PatchworkRule],
) -> str:
    """Return the TOML of the lists: their settings, maintainers and delegation rules."""
    names = {user.number: user.name for user in users}
    emails = {
        project.number: sorted(
            user.email for user in users if project.number in user.projects and user.email
        )
        for project in projects
    }
    return "\n".join(
        line
        for project in projects
        for line in _list_lines(
            project, emails[project.number], names,
            [rule for rule in rules if rule.project == project.number],
        )
    )  # fmt: skip


def _list_lines(
    project: PatchworkProject,
    maintainers: Sequence[str],
    names: Mapping[int, str],
    rules: Iterable[PatchworkRule],
) -> Iterator[str]:
    key = project.link_name
    if not _BARE_KEY.fullmatch(key):
        key = _quote(key)
    yield f"[lists.{key}]"
    yield f"list_id = {_quote(project.list_id)}"
    for name, value in (
        ("email", project.list_email),
        ("name", project.name),
        ("web_url", project.web_url),
        ("scm_url", project.scm_url),
        ("webscm_url", project.webscm_url),
        ("list_archive_url", project.list_archive_url),
        ("list_archive_url_format", project.list_archive_url_format),
        ("commit_url_format", project.commit_url_format),
    ):
        if value:
            yield f"{name} = {_quote(value)}"
    if maintainers:
        yield f"maintainers = [{', '.join(_quote(email) for email in maintainers)}]"
    yield ""
    for rule in rules:
        yield f"[[lists.{key}.delegation]]"
        yield f"path = {_quote(rule.path)}"
        yield f"account = {_quote(names.get(rule.user, str(rule.user)))}"
        yield f"priority = {rule.priority}"
        yield ""


def _quote(text: str) -> str:
    # A JSON string is a basic string of TOML, except for U+007F.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
