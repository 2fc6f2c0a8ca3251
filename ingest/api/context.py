"""What every endpoint needs: the store, the configuration, the client's account and parameters."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from urllib.parse import quote, urlencode

from sqlalchemy import Connection, Engine
from starlette.requests import Request
from starlette.responses import Response

from ingest.api.middleware.rate_limit import KnownTokens
from ingest.api.params import FORMATS, ApiError, QueryParams, invalid_page
from ingest.api.responses import page_response
from ingest.api.site import Site, SiteCache
from ingest.api.urls import UrlBuilder
from ingest.config.settings import ApiConfig, Config
from ingest.store.activity.accounts import Account, find_account
from ingest.store.database.transactions import write_transaction
from ingest.store.read.pages.filters import Page
from ingest.store.read.pages.list_totals import ListTotals
from ingest.store.read.pages.listing_pages import MAX_COUNTED
from ingest.store.reader import ReadSession
from ingest.store.site.numbers import NumberKind


@dataclass(frozen=True, slots=True)
class Context:
    """What the application was made with.

    `engine`: for transactions that write. `get_config`: called for each request, because a daemon
    may reload the configuration. `now`: the time, as naive UTC. `tokens`: those that were valid
    before. `totals`: how long lists are. The API's threads share it: it is frozen, an engine is
    thread-safe, and the others have locks.
    """

    engine: Engine
    get_config: Callable[[], Config]
    now: Callable[[], datetime]
    tokens: KnownTokens
    sites: SiteCache
    totals: ListTotals


@dataclass(frozen=True, slots=True)
class ApiRequest:
    """One request as endpoints see it."""

    http: Request
    params: QueryParams
    urls: UrlBuilder
    context: Context
    site: Site

    def with_site(self, site: Site) -> ApiRequest:
        """Return the same request for a site that it has changed."""
        return replace(self, site=site, urls=replace(self.urls, config=site.config))

    @property
    def config(self) -> Config:
        """Return the configuration, with the settings of projects, when the request began."""
        return self.site.config

    @property
    def settings(self) -> ApiConfig:
        """Return the API's part of the configuration."""
        return self.config.api or ApiConfig()

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Return a connection for reading, whose queries end when the client disconnects."""
        reading: ReadSession = self.http.scope["reading"]
        with reading.connect() as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """Return the connection of a new transaction that writes."""
        with write_transaction(self.context.engine) as connection:
            yield connection

    def path_text(self, name: str) -> str:
        """Return a text in the path."""
        text: str = self.http.path_params[name]
        return text

    def path_number(self, name: str = "id") -> int:
        """Return a row number in the path. The route accepts digits only."""
        number: int = self.http.path_params[name]
        if number > 2**63 - 1:
            raise ApiError(404, {"detail": "Not found."})
        return number

    def message_row(self, kind: NumberKind, name: str = "id") -> int:
        """Return the row of the message that a number in the path is of."""
        return self.site.numbers.message_row(kind, self.path_number(name))

    @property
    def url(self) -> str:
        """Return the URL of this request, with the path as the client spelt it."""
        path = quote(self.http.scope.get("original_path", "/"), safe="/@:+=!$&'()*;~.%")
        return f"{self.urls.base}{path}"

    def page(self, orders: Collection[str], *, default: str = "id") -> Page:
        """Return the page that is requested of a list that can be ordered by these fields."""
        return self.params.page(orders, default=default, max_size=self.settings.max_page)

    def respond_with_page(
        self,
        records: Sequence[Any],
        found: Sequence[Any],
        page: Page,
        *,
        count: int | None = None,
    ) -> Response:
        """Return the response with a page of records.

        `found` has one item more than the page where there is a next page. `count`: how many
        records there are on all pages, as far as that is known.
        """
        if not found and page.number > 1:
            raise invalid_page()
        has_next = len(found) > page.size
        last: int | None = page.number
        if has_next:  # a count of some minutes ago may be too small
            last = None if count is None else max(-(-count // page.size), page.number + 1)
        return page_response(records, self.params, page, self.url, has_next=has_next, last=last)

    def respond_with_short_list(
        self,
        records: Sequence[Any],
        found: Sequence[int],
        page: Page,
        find_ids: Callable[[Page], Sequence[int]],
    ) -> Response:
        """Return the response with a page of a list that is mostly short, and is counted.

        `find_ids` finds the ids of another page of the list.
        """
        count = None
        if len(found) > page.size:
            number = len(find_ids(replace(page, number=1, size=MAX_COUNTED)))
            count = number if number <= MAX_COUNTED else None
        return self.respond_with_page(records, found, page, count=count)

    def find_account(self, connection: Connection) -> Account | None:
        """Return the account of the request's token, None where the request has no token.

        Raises `ApiError` for a token that belongs to no account.
        """
        header = self.http.headers.get("authorization")
        if header is None:
            return None
        known: Account | None = getattr(self.http.state, "account", None)
        if known is not None:
            return known
        account = find_account(connection, _parse_token(header))
        self.context.tokens.set(header, None if account is None else account.id)
        if account is None:
            raise ApiError(403, {"detail": "Invalid token."})
        self.http.state.account = account
        return account

    def require_account(self, connection: Connection) -> Account:
        """Return the account of the request's token.

        Raises `ApiError` where there is no token: 403 and not 401, as Patchwork does, which offers
        no challenge.
        """
        account = self.find_account(connection)
        if account is None:
            raise ApiError(403, {"detail": "Authentication credentials were not provided."})
        return account

    def require_people_access(self, connection: Connection) -> None:
        """Raise `ApiError` unless the client may list people and users.

        Without a token, anybody could collect their addresses.
        """
        if not self.settings.public_people:
            self.require_account(connection)


def parse_request(http_request: Request) -> ApiRequest:
    """Parse the query of a request, and prepare the URLs of its response."""
    context: Context = http_request.app.state.context
    reading: ReadSession = http_request.scope["reading"]
    site = context.sites.read(reading.connect, context.get_config())
    settings = site.config.api or ApiConfig()
    base = settings.url or f"{http_request.url.scheme}://{http_request.url.netloc}"
    params = QueryParams.parse(http_request.scope["query_string"])
    form = params.last("format")
    urls = UrlBuilder(
        base.rstrip("/"),
        site.config,
        http_request.scope.get("api_version"),
        f"?{urlencode({'format': form})}" if form in FORMATS else "",
        site.numbers.is_imported,
    )
    return ApiRequest(http_request, params, urls, context, site)


def _parse_token(header: str) -> str:
    """Return the token in an Authorization header, "" where there is none.

    `Basic` has the token as password, for clients that are configured with a name and a password.
    """
    scheme, _, credentials = header.strip().partition(" ")
    match scheme.lower():
        case "token" | "bearer":
            return credentials.strip()
        case "basic":
            try:
                decoded = base64.b64decode(credentials.strip(), validate=True)
            except (binascii.Error, ValueError):
                return ""
            return decoded.decode("utf-8", "replace").partition(":")[2]
        case _:
            return ""
