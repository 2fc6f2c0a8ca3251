"""The parts that every page has: its frame, its policy, and how times and people look."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from urllib.parse import urlencode

from starlette.responses import Response

from ingest.api.context import ApiRequest
from ingest.api.web.html import Content, Html, el, join
from ingest.mail.message import Address

# Only our own stylesheet is loaded, no script runs, nothing is sent elsewhere, and no other site
# may show the page in a frame.
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
    """Return a whole page. `trail` has the names and URLs of the pages above it."""
    crumbs = [el("li", el("a", name, href=url)) for name, url in (("Lists", "/"), *trail)]
    document = join(
        el(
            "head",
            el("meta", charset="utf-8"),
            el("meta", name="viewport", content="width=device-width, initial-scale=1"),
            el("title", title),
            el("link", rel="stylesheet", href="/style.css"),
        ),
        el(
            "body",
            el("a", "Skip to content", class_="skip", href="#content"),
            el(
                "header",
                el("nav", el("ul", crumbs), aria_label="Breadcrumbs"),
                el("nav", el("a", "Status", href="/state/"), aria_label="More"),
            ),
            el("main", el("h1", title), *content, id="content"),
        ),
    )
    text = "<!doctype html>\n" + el("html", document, lang="en").text + "\n"
    return Response(text.encode(), media_type="text/html", headers=_HEADERS)


def error_page(status: int, title: str, message: str) -> Response:
    """Return a page that says why a request failed."""
    response = render_page(title, el("p", message))
    response.status_code = status
    return response


def pairs(facts: Iterable[tuple[str, Content]]) -> Html:
    """Return a list of names with their values."""
    return el("dl", (join(el("dt", name), el("dd", value)) for name, value in facts))


SEARCH_HINT = "Part of a name, file:PART of the name of a file, patchid:DIGITS"


def search_form(path: str, text: str | None, *fields: Content) -> Html:
    """Return a form that searches a list. `fields` come after the text."""
    return el(
        "form",
        el("label", "Search", el("input", name="q", value=text or "", title=SEARCH_HINT)),
        *fields,
        el("button", "Search", type="submit"),
        action=path,
        role="search",
    )


def table(heads: tuple[str, ...], rows: list[Html]) -> Html:
    """Return a table."""
    return el(
        "table",
        el("thead", el("tr", [el("th", head, scope="col") for head in heads])),
        el("tbody", rows),
    )


def format_time(date: datetime | None) -> Html:
    """Return a time in UTC."""
    if date is None:
        return el("span", "no date", class_="quiet")
    return el("time", f"{date:%Y-%m-%d %H:%M}", datetime=f"{date:%Y-%m-%dT%H:%M:%SZ}")


def person_name(person: Address) -> Html:
    """Return the name of a person, with the address as a tooltip."""
    return el("span", person.name or person.email, title=person.email)


def page_links(request: ApiRequest, path: str, number: int, *, has_next: bool) -> Html | None:
    """Return links to the previous and the next page, with the same filters."""
    filters = [pair for pair in request.params.pairs if pair[0] not in ("page", "project")]

    def link(page_number: int, text: str, rel: str) -> Html:
        query = urlencode([*filters, ("page", str(page_number))])
        return el("a", text, href=f"{path}?{query}", rel=rel)

    links = [link(number - 1, "Newer", "prev")] if number > 1 else []
    links += [link(number + 1, "Older", "next")] if has_next else []
    return el("nav", links, class_="pages", aria_label="Pages") if links else None
