"""The page of a patch or a cover: its text, its diff in colour, and its replies as a thread."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import Response

from ingest.api.context import ApiRequest, parse_request
from ingest.api.lookup import COMMENT_KINDS, KINDS, find_by_path, find_by_row, redirect_message
from ingest.api.params import not_found
from ingest.api.records.prefetch import Prefetched, prefetch
from ingest.api.responses import redirect_response
from ingest.api.urls import name_of, path_of
from ingest.api.web.html import Html, el, join
from ingest.api.web.layout import format_time, pairs, person_name, render_page
from ingest.api.web.text import MAX_DIFF_LINES, render_diff, render_text
from ingest.lifecycle.evidence import format_evidence
from ingest.series.outcome import Outcome
from ingest.store.read import messages
from ingest.store.read.authentication import read_stored_authentication
from ingest.store.read.messages import MessageRow
from ingest.store.read.pages.page_queries import find_reply_ids
from ingest.store.site.list_records import is_list_variant
from ingest.store.site.numbers import find_imported, shown_number
from ingest.trust.signatures.verdict import Result, Verdict

# Replies on one page; a thread may have thousands.
_MAX_REPLIES = 300
_MAX_DEPTH = 4


def patch_page(http_request: Request) -> Response:
    """Return the page of a patch, by its Message-ID."""
    return _page_by_msgid(http_request, Outcome.PATCH)


def cover_page(http_request: Request) -> Response:
    """Return the page of a cover, by its Message-ID."""
    return _page_by_msgid(http_request, Outcome.COVER)


def comment_redirect(http_request: Request) -> Response:
    """Redirect to a reply on the page of the patch or cover that it applies to."""
    request = parse_request(http_request)
    with request.read() as connection:
        row = find_by_path(connection, request, (Outcome.COMMENT,))
        path = _find_comment_path(connection, row, request)
    if path is None:
        raise not_found()
    return redirect_response(path, 302)


def comment_number_redirect(http_request: Request) -> Response:
    """Redirect from the number of a comment to its place on the page of its patch or cover.

    Comments on patches and those on covers may have the same number: as in Patchwork, the former
    are looked for first.
    """
    request = parse_request(http_request)
    with request.read() as connection:
        for kind in COMMENT_KINDS.values():
            row = find_by_row(connection, request.message_row(kind), Outcome.COMMENT)
            if row is None:
                successor = find_imported(connection, kind, request.path_number())
                row = find_by_row(connection, successor or 0, Outcome.COMMENT)
            path = _find_comment_path(connection, row, request) if row is not None else None
            if path is not None:
                return redirect_response(path, 302)
    raise not_found()


def _find_comment_path(connection: Connection, row: MessageRow, request: ApiRequest) -> str | None:
    """Return the path of a comment on the page of its patch or cover, None where it has none."""
    parent_ids = [row.parent_id] if row.parent_id else []
    parent = next(messages.read_messages(connection, parent_ids, brief=True), None)
    if parent is None:
        return None
    link = _link_name(parent, request)
    path = path_of("project", link, parent.outcome, name_of(parent.msgid))
    return f"{path}#{request.urls.number(row.id, row.outcome)}"


def patch_number_redirect(http_request: Request) -> Response:
    """Redirect from the number of a patch to its page."""
    return _redirect_by_number(http_request, Outcome.PATCH)


def cover_number_redirect(http_request: Request) -> Response:
    """Redirect from the number of a cover to its page."""
    return _redirect_by_number(http_request, Outcome.COVER)


def _redirect_by_number(http_request: Request, outcome: Outcome) -> Response:
    request = parse_request(http_request)
    with request.read() as connection:
        row = find_by_row(connection, request.message_row(KINDS[outcome]), outcome)
        if row is None:
            return redirect_message(connection, request, outcome, lambda id_: f"/{outcome}/{id_}/")
        if not row.variant or is_list_variant(row.variant):
            path = path_of("project", _link_name(row, request), outcome, name_of(row.msgid))
            return redirect_response(path, 302)
        # The Message-ID names another message, so a conflicting copy has no other page.
        return _message_page(connection, row, request)


def _page_by_msgid(http_request: Request, outcome: Outcome) -> Response:
    request = parse_request(http_request)
    with request.read() as connection:
        row = find_by_path(connection, request, KINDS)
        if row.outcome is not outcome:  # a patch under the path of covers, or the other way
            link = request.path_text("link")
            return redirect_response(path_of("project", link, row.outcome, name_of(row.msgid)))
        return _message_page(connection, row, request)


def _link_name(row: MessageRow, request: ApiRequest) -> str:
    return request.config.link_name(row.lists[0].list_id) if row.lists else "-"


def _message_page(connection: Connection, row: MessageRow, request: ApiRequest) -> Response:
    prefetched = prefetch(connection, [row], date_all=False, evidence=True)
    reply_ids = find_reply_ids(connection, row.id, limit=_MAX_REPLIES + 1)
    replies = list(messages.read_messages(connection, reply_ids))
    stored = read_stored_authentication(connection, [row.mail_id]).get(row.mail_id)
    verdicts = stored.verdicts if stored is not None else ()
    link = _link_name(row, request)
    path = path_of("project", link, "list")
    diff = render_diff(row.diff) if row.diff else None
    articles = [
        _reply_article(reply.row, reply.depth)
        for reply in _thread_replies(replies[:_MAX_REPLIES], row)
    ]
    return render_page(
        row.name or row.subject,
        pairs([*_facts(row, prefetched, path), *map(_signature_fact, verdicts)]),
        _download_links(row, request),
        render_text(row.content) if row.content else None,
        join(el("h2", "Changes"), diff.html) if diff is not None else None,
        el("p", f"Only the first {MAX_DIFF_LINES} lines are shown.")
        if diff is not None and diff.is_cut
        else None,
        join(el("h2", "Replies"), articles) if articles else None,
        el("p", f"Only the first {_MAX_REPLIES} replies are shown.")
        if len(replies) > _MAX_REPLIES
        else None,
        trail=((link, path),),
    )


def _facts(row: MessageRow, prefetched: Prefetched, path: str) -> Iterator[tuple[str, Html | str]]:
    yield "From", person_name(row.submitter)
    if row.author is not None:
        yield "Author", person_name(row.author)
    yield "Date", format_time(row.date)
    series = prefetched.series.get(row.series_id or 0)
    if series is not None:
        yield "Series", el("a", series.name or "(no name)", href=f"{path}?series={series.id}")
    if row.outcome is Outcome.PATCH:
        yield "State", f"{row.current_state}, archived" if row.archived else row.current_state or ""
        source = prefetched.state_sources.get(row.id)
        for evidence in source.evidence if source is not None else ():
            yield "Evidence", f"{evidence.state}: {format_evidence(evidence)}"
        yield "Check", prefetched.checks.get(row.id, "pending")
        delegate = prefetched.delegates.get(row.delegate_id or 0)
        if delegate is not None:
            yield "Delegate", delegate.name
        if row.commit_ref:
            yield "Commit", row.commit_ref
    if row.pull_url:
        yield "Pull", row.pull_url
    yield "Message-ID", el("code", row.msgid)


def _signature_fact(verdict: Verdict) -> tuple[str, Html]:
    """Return the stored verdict on a signature. Nothing is verified for a page."""
    is_good = verdict.result is Result.PASS
    text = f"{verdict.kind}: {verdict.result}" + (f", {verdict.reason}" if verdict.reason else "")
    signer = verdict.domain or verdict.identity
    return "Signature", join(
        el("span", text, class_="good" if is_good else "quiet"),
        f" by {signer}" if signer else None,
    )


def _download_links(row: MessageRow, request: ApiRequest) -> Html:
    number = request.urls.number(row.id, row.outcome)
    links = [el("a", "Download for git am", href=f"/{row.outcome}/{number}/mbox/")]
    if row.diff:
        links.append(el("a", "Download the diff", href=f"/patch/{number}/raw/"))
    archive = request.urls.archive(row.lists, row.msgid)
    if archive is not None:
        links.append(el("a", "List archive", href=archive))
    return el("p", links, class_="actions")


@dataclass(frozen=True, slots=True)
class _ThreadedReply:
    """A reply, and how many replies are above it in the thread."""

    row: MessageRow
    depth: int


def _thread_replies(replies: Sequence[MessageRow], parent: MessageRow) -> Iterator[_ThreadedReply]:
    """Yield the replies in the order of the thread, each after the message that it replies to.

    A reply to a message that is not on the page is at the top level. A circle of replies is broken
    at the one where it is entered.
    """
    msgids = {reply.msgid for reply in replies}
    children: dict[str, list[MessageRow]] = defaultdict(list)
    for reply in replies:
        replied_to = reply.in_reply_to if reply.in_reply_to in msgids else parent.msgid
        children[replied_to or parent.msgid].append(reply)
    seen: set[int] = set()
    for top in (parent.msgid, *msgids):
        stack = [(reply, 0) for reply in reversed(children[top])]
        while stack:
            reply, depth = stack.pop()
            if reply.id in seen:
                continue
            seen.add(reply.id)
            yield _ThreadedReply(reply, depth)
            stack += [(child, depth + 1) for child in reversed(children[reply.msgid])]


def _reply_article(row: MessageRow, depth: int) -> Html:
    return el(
        "article",
        el("h3", person_name(row.submitter), ", ", format_time(row.date)),
        render_text(row.content),
        id=shown_number(row.id, row.outcome),
        class_=f"d{min(depth, _MAX_DEPTH)}" if depth else None,
    )
