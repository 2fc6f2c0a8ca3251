"""What every endpoint needs: the store, the configuration, and who asks for what."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import quote

from sqlalchemy import Connection, Engine
from starlette.requests import Request

from ingest.api.params import ApiError, QueryParams
from ingest.api.urls import UrlBuilder
from ingest.config.file import ApiConfig, Config
from ingest.store.activity.accounts import Account, find_account
from ingest.store.engine import write_transaction
from ingest.store.reader import ReadSession


@dataclass(frozen=True, slots=True)
class Context:
    """`engine`: for what writes. `config`: asked for at each request, since a daemon may read it
    anew. Shared by the threads of the API: frozen, and an engine may be.
    """

    engine: Engine
    configured: Callable[[], Config]
    now: Callable[[], datetime]


@dataclass(frozen=True, slots=True)
class ApiRequest:
    """One request, as endpoints see it."""

    request: Request
    asked: QueryParams
    site: UrlBuilder
    context: Context

    @property
    def settings(self) -> ApiConfig:
        return self.site.config.api or ApiConfig()

    @contextmanager
    def read(self) -> Iterator[Connection]:
        reading: ReadSession = self.request.scope["reading"]
        with reading.connect() as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        with write_transaction(self.context.engine) as connection:
            yield connection

    def number(self, name: str = "id") -> int:
        """A row's number in the path. The route takes digits alone."""
        found: int = self.request.path_params[name]
        if found > 2**63 - 1:
            raise ApiError(404, {"detail": "Not found."})
        return found

    @property
    def url(self) -> str:
        """Of what was asked for, as the client spelt its path."""
        path = quote(self.request.scope.get("asked_path", "/"), safe="/@:+=!$&'()*;~.%")
        return f"{self.site.base}{path}"

    def account(self, connection: Connection) -> Account | None:
        """Who asks, None for nobody in particular. Raises `ApiError` for a token of nobody's."""
        given = self.request.headers.get("authorization")
        if given is None:
            return None
        account = find_account(connection, _token(given))
        if account is None:
            raise ApiError(403, {"detail": "Invalid token."})
        return account

    def known(self, connection: Connection) -> Account:
        """Who asks for what needs a token. Raises `ApiError` for nobody: 403 and not 401, as
        Patchwork does, which offers no challenge.
        """
        account = self.account(connection)
        if account is None:
            raise ApiError(403, {"detail": "Authentication credentials were not provided."})
        return account

    def may_see_people(self, connection: Connection) -> None:
        """Raises `ApiError` for who may not list people and users: their addresses would be
        collected.
        """
        if not self.settings.public_people:
            self.known(connection)


def parse_request(request: Request) -> ApiRequest:
    context: Context = request.app.state.context
    config = context.configured()
    settings = config.api or ApiConfig()
    base = settings.url or f"{request.url.scheme}://{request.url.netloc}"
    site = UrlBuilder(base.rstrip("/"), config, request.scope.get("api_version"))
    return ApiRequest(request, QueryParams.of(request.scope["query_string"]), site, context)


def _token(header: str) -> str:
    """`Token T`, or `Basic` with the token as password, for clients that are configured with a
    name and a password.
    """
    scheme, _, rest = header.strip().partition(" ")
    match scheme.lower():
        case "token" | "bearer":
            return rest.strip()
        case "basic":
            try:
                said = base64.b64decode(rest.strip(), validate=True).decode("utf-8", "replace")
            except (binascii.Error, ValueError):
                return ""
            return said.partition(":")[2]
        case _:
            return ""
