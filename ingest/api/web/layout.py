"""What every page has: its frame, its policy, and words for times and people."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from urllib.parse import urlencode

from starlette.responses import Response

from ingest.api.context import ApiRequest
from ingest.api.web.html import Content, Html, el, join
from ingest.mail.message import Address

# Nothing is loaded but our own style, nothing runs, nothing is sent elsewhere, and no other
# site may show the page in a frame.
POLICY = (
    "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self';"
    " base-uri 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-cache",
}


def render_page(title: str, *content: Content, trail: tuple[tuple[str, str], ...] = ()) -> Response:
    """A whole page. `trail`: names and URLs of what it is part of."""
    crumbs = [el("li", el("a", name, href=url)) for name, url in (("Lists", "/"), *trail)]
    whole = join(
        el(
            "head",
            el("meta", charset="utf-8"),
            el("meta", name="viewport", content="width=device-width, initial-scale=1"),
            el("title", title),
            el("link", rel="stylesheet", href="/style.css"),
        ),
        el(
            "body",
            el("a", "To the content", class_="skip", href="#content"),
            el(
                "header",
                el("nav", el("ul", crumbs), aria_label="You are in"),
                el("nav", el("a", "Intake", href="/state/"), aria_label="More"),
            ),
            el("main", el("h1", title), *content, id="content"),
        ),
    )
    text = "<!doctype html>\n" + el("html", whole, lang="en").text + "\n"
    return Response(text.encode(), media_type="text/html", headers=_HEADERS)


def error_page(status: int, said: str) -> Response:
    """A page that says why there is none."""
    answer = render_page("Not here" if status == 404 else "Not like this", el("p", said))
    answer.status_code = status
    return answer


def pairs(facts: Iterable[tuple[str, Content]]) -> Html:
    """Names and what they stand for."""
    return el("dl", (join(el("dt", name), el("dd", value)) for name, value in facts))


def format_time(date: datetime | None) -> Html:
    if date is None:
        return el("span", "no date", class_="quiet")
    return el("time", f"{date:%Y-%m-%d %H:%M}", datetime=f"{date:%Y-%m-%dT%H:%M:%SZ}")


def person_link(who: Address) -> Html:
    return el("span", who.name or who.email, title=who.email)


def page_links(one: ApiRequest, path: str, number: int, *, more: bool) -> Html | None:
    """Links to the pages beside this one, with the filters that it has."""
    kept = [(key, value) for key, value in one.asked.pairs if key not in ("page", "project")]

    def link(to: int, said: str, rel: str) -> Html:
        query = urlencode([*kept, ("page", str(to))])
        return el("a", said, href=f"{path}?{query}", rel=rel)

    links = [link(number - 1, "Newer", "prev")] if number > 1 else []
    links += [link(number + 1, "Older", "next")] if more else []
    return el("nav", links, class_="pages", aria_label="Pages") if links else None
