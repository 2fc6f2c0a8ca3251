"""A patch or a cover: what it says, its diff in colour, and its replies in the order of the
thread.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

from sqlalchemy import Connection, select
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from ingest.api.context import ApiRequest, parse_request
from ingest.api.endpoints.read import find_named, find_record, redirect_to_successor
from ingest.api.params import not_found
from ingest.api.prefetch import Prefetched, prefetch
from ingest.api.urls import name_of, path_of
from ingest.api.web.html import Html, el, join
from ingest.api.web.layout import format_time, pairs, person_link, render_page
from ingest.api.web.text import MAX_DIFF_LINES, render_diff, render_text
from ingest.store import schema
from ingest.store.read import messages
from ingest.store.read.authentication import read_stored_authentication
from ingest.store.read.messages import MessageRow
from ingest.trust.signatures.verdict import Result, Verdict

# Replies that one page shows; a thread may have thousands.
_MOST_REPLIES = 300
_DEEPEST = 4


def patch_page(request: Request) -> Response:
    return _shown(request, "patch")


def cover_page(request: Request) -> Response:
    return _shown(request, "cover")


def comment_redirect(request: Request) -> Response:
    """A reply is shown with what it speaks to."""
    one = parse_request(request)
    with one.read() as connection:
        row = find_named(connection, request.path_params["msgid"], "comment")
        parent = next(
            messages.read_messages(
                connection, [row.parent_id] if row.parent_id else [], brief=True
            ),
            None,
        )
    if parent is None:
        raise not_found()
    path = path_of("project", request.path_params["link"], parent.outcome, name_of(parent.msgid))
    return RedirectResponse(f"{path}#c{row.id}", 302)


def patch_number_redirect(request: Request) -> Response:
    return _by_number(request, "patch")


def cover_number_redirect(request: Request) -> Response:
    return _by_number(request, "cover")


def _by_number(request: Request, outcome: str) -> Response:
    one = parse_request(request)
    with one.read() as connection:
        row = find_record(connection, one.number(), outcome)
        if row is None:
            return redirect_to_successor(
                connection, "message", one.number(), lambda to: f"/{outcome}/{to}/"
            )
        if not row.variant:
            link = one.site.config.link_name(row.lists[0].list_id) if row.lists else "-"
            return RedirectResponse(path_of("project", link, outcome, name_of(row.msgid)), 302)
        return _page(connection, row, one)  # its id is that of another message


def _shown(request: Request, outcome: str) -> Response:
    one = parse_request(request)
    with one.read() as connection:
        row = find_named(connection, request.path_params["msgid"], outcome)
        return _page(connection, row, one)


def _page(connection: Connection, row: MessageRow, one: ApiRequest) -> Response:
    near = prefetch(connection, [row], dated=False)
    replies = _replies(connection, row.id)
    vouching = read_stored_authentication(connection, [row.mail_id]).get(row.mail_id)
    verdicts = vouching.verdicts if vouching is not None else ()
    link = one.site.config.link_name(row.lists[0].list_id) if row.lists else "-"
    path = path_of("project", link, "list")
    changes, cut = render_diff(row.diff) if row.diff else (None, False)
    said = [_reply(reply, depth) for reply, depth in _threaded(replies[:_MOST_REPLIES], row)]
    more = len(replies) > _MOST_REPLIES
    return render_page(
        row.name or row.subject,
        pairs([*_facts(row, near, path), *map(_signature, verdicts)]),
        _downloads(row, one),
        render_text(row.content) if row.content else None,
        join(el("h2", "Changes"), changes) if changes is not None else None,
        el("p", f"Only the first {MAX_DIFF_LINES} lines are shown.") if cut else None,
        join(el("h2", "Replies"), said) if said else None,
        el("p", f"Only the first {_MOST_REPLIES} replies are shown.") if more else None,
        trail=((link, path),),
    )


def _facts(row: MessageRow, near: Prefetched, path: str) -> Iterator[tuple[str, Html | str]]:
    yield "From", person_link(row.submitter)
    if row.author is not None:
        yield "Author", person_link(row.author)
    yield "Date", format_time(row.date)
    one = near.series.get(row.series_id or 0)
    if one is not None:
        yield "Series", el("a", one.name or "(no name)", href=f"{path}?series={one.id}")
    if row.outcome == "patch":
        yield "State", f"{row.current_state}, archived" if row.archived else row.current_state or ""
        yield "Check", near.checks.get(row.id, "pending")
        delegate = near.delegates.get(row.delegate_id or 0)
        if delegate is not None:
            yield "Delegate", delegate.name
        if row.commit_ref:
            yield "Commit", row.commit_ref
    if row.pull_url:
        yield "Pull", row.pull_url
    yield "Message-ID", el("code", row.msgid)


def _signature(one: Verdict) -> tuple[str, Html]:
    """What was found when the mail came: nothing is judged for a page."""
    good = one.result is Result.PASS
    said = f"{one.kind}: {one.result}" + (f", {one.reason}" if one.reason else "")
    return "Signature", join(
        el("span", said, class_="good" if good else "quiet"),
        f" by {one.domain or one.identity}" if one.domain or one.identity else None,
    )


def _downloads(row: MessageRow, one: ApiRequest) -> Html:
    links = [el("a", "Download for git am", href=f"/{row.outcome}/{row.id}/mbox/")]
    if row.diff:
        links.append(el("a", "The diff alone", href=f"/patch/{row.id}/raw/"))
    archive = one.site.archive(row.lists, row.msgid)
    if archive is not None:
        links.append(el("a", "In the list's archive", href=archive))
    return el("p", links, class_="actions")


def _replies(connection: Connection, parent: int) -> list[MessageRow]:
    comment = schema.comment.c
    query = (
        select(comment.message_id)
        .join(schema.message, schema.message.c.id == comment.message_id)
        .where(comment.parent_id == parent)
        .order_by(schema.message.c.date, comment.message_id)
        .limit(_MOST_REPLIES + 1)
    )
    return list(messages.read_messages(connection, connection.execute(query).scalars()))


def _threaded(replies: Sequence[MessageRow], about: MessageRow) -> Iterator[tuple[MessageRow, int]]:
    """The replies, each behind what it answers, with how deep it lies. What answers none of
    these stands at the top; a circle of replies is broken where it was entered.
    """
    ids = {reply.msgid for reply in replies}
    below: dict[str, list[MessageRow]] = defaultdict(list)
    for reply in replies:
        to = reply.in_reply_to if reply.in_reply_to in ids else about.msgid
        below[to or about.msgid].append(reply)
    seen: set[int] = set()
    for top in (about.msgid, *ids):
        stack = [(reply, 0) for reply in reversed(below[top])]
        while stack:
            reply, depth = stack.pop()
            if reply.id in seen:
                continue
            seen.add(reply.id)
            yield reply, depth
            stack += [(each, depth + 1) for each in reversed(below[reply.msgid])]


def _reply(row: MessageRow, depth: int) -> Html:
    return el(
        "article",
        el("h3", person_link(row.submitter), ", ", format_time(row.date)),
        render_text(row.content),
        id=f"c{row.id}",
        class_=f"d{min(depth, _DEEPEST)}" if depth else None,
    )
