"""What all resources of the API have in common, whatever they hold.

A `Resource` is a path with the endpoints of its methods. `ResourceApp` answers for it as Django's
REST framework does for Patchwork: it refuses methods that the resource lacks, tells with `Allow`
which it has, describes it for OPTIONS, and chooses between JSON and a page for browsers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from ingest.api.context import parse_request
from ingest.api.params import ApiError, not_found
from ingest.api.responses import JsonResponse, error_response, redirect_response
from ingest.api.rest.browsable import BrowsablePage, browsable_response
from ingest.api.rest.negotiation import MediaType, choose_media_type
from ingest.api.rest.request_body import MAX_REQUEST_BODY

PlainEndpoint = Callable[[Request], Response]
BodyEndpoint = Callable[[Request, bytes], Response]

_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS")
_PARSES = ("application/json", "application/x-www-form-urlencoded", "multipart/form-data")
_RENDERS = ("application/json", "text/html")

# The answer depends on them; a session is named by a cookie.
_VARY = "Accept, Cookie"


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """A path of the API, and what can be done with it.

    `name` and `description` are shown for OPTIONS and in a browser. `since` is the first version of
    the API that has it. `actions` describes the fields of a POST, as OPTIONS shows them. `fields`
    are what a form in a browser offers for PATCH or POST. `max_body` is in bytes. `patch_since`: as
    `since`, for a PATCH that Patchwork does not have; its versions do not name it in `Allow`.
    """

    path: str
    name: str
    description: str
    get: PlainEndpoint | None = None
    post: BodyEndpoint | None = None
    put: BodyEndpoint | None = None
    patch: BodyEndpoint | None = None
    delete: PlainEndpoint | None = None
    since: tuple[int, int] = (1, 0)
    actions: dict[str, Any] | None = None
    fields: tuple[str, ...] = ()
    max_body: int = MAX_REQUEST_BODY
    patch_since: tuple[int, int] | None = None

    def methods(self, version: tuple[int, int] | None) -> tuple[str, ...]:
        """Return the methods that it has, in the order of the header `Allow`."""
        missing = {
            method
            for method, endpoint in (
                ("GET", self.get), ("POST", self.post), ("PUT", self.put), ("PATCH", self.patch),
                ("DELETE", self.delete), ("HEAD", self.get),
            )
            if endpoint is None
        }  # fmt: skip
        if self.patch_since is not None and version is not None:
            missing.add("PATCH")
        return tuple(method for method in _METHODS if method not in missing)

    def describe(self) -> dict[str, Any]:
        """Return the description for OPTIONS."""
        description: dict[str, Any] = {
            "name": self.name,
            "description": self.description,
            "renders": list(_RENDERS),
            "parses": list(_PARSES),
        }
        return description | ({"actions": {"POST": self.actions}} if self.actions else {})

    def route(self) -> Route:
        """Return the route of this resource."""
        return Route(self.path, ResourceApp(self))


class ResourceApp:
    """Handles the requests for one resource."""

    def __init__(self, resource: Resource) -> None:
        self._resource = resource

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Respond to a request."""
        response = await self._respond(Request(scope, receive))
        await response(scope, receive, send)

    async def _respond(self, http_request: Request) -> Response:
        resource = self._resource
        version: tuple[int, int] | None = http_request.scope.get("api_version")
        if version is not None and version < resource.since:
            return error_response(not_found())
        try:
            media_type = choose_media_type(http_request)
        except ApiError as error:
            response = error_response(error)
            return self._with_headers(http_request, response, vary="Accept")
        response = await self._run(http_request)
        if isinstance(response, JsonResponse) and media_type is MediaType.HTML:
            response = browsable_response(http_request, self._page(http_request, response))
        return self._with_headers(http_request, response, vary=_VARY)

    async def _run(self, http_request: Request) -> Response:
        """Return the response of the endpoint, or what refuses the request."""
        method = _method_of(http_request)
        endpoint = self._find_endpoint(method, http_request.scope.get("api_version"))
        try:
            if endpoint is None:
                return await run_in_threadpool(_run_endpoint, http_request, self._answer_itself)
            if method in ("POST", "PUT", "PATCH"):
                _require_same_site(http_request)
                if self._resource.max_body > MAX_REQUEST_BODY:
                    # A large body is read for those only who may send it.
                    await run_in_threadpool(_require_account, http_request)
                body = await _read_body(http_request, self._resource.max_body)
                with_body: Any = endpoint
                return await run_in_threadpool(
                    _run_endpoint, http_request, lambda request: with_body(request, body)
                )
            return await run_in_threadpool(_run_endpoint, http_request, endpoint)
        except ClientDisconnect:
            return Response(status_code=400)
        except ApiError as error:
            return error_response(error)

    def _find_endpoint(self, method: str, version: tuple[int, int] | None) -> Any:
        resource = self._resource
        if resource.patch_since is not None and method == "PATCH":
            is_there = version is None or version >= resource.patch_since
            return resource.patch if is_there else None
        endpoints = {
            "GET": resource.get, "HEAD": resource.get, "POST": resource.post, "PUT": resource.put,
            "PATCH": resource.patch, "DELETE": resource.delete,
        }  # fmt: skip
        return endpoints.get(method)

    def _answer_itself(self, http_request: Request) -> Response:
        """Describe the resource, or refuse a method that it does not have."""
        if http_request.method == "OPTIONS":
            return JsonResponse(self._resource.describe())
        raise ApiError(405, {"detail": f'Method "{http_request.method}" not allowed.'})

    def _page(self, http_request: Request, response: Response) -> BrowsablePage:
        resource = self._resource
        methods = resource.methods(http_request.scope.get("api_version"))
        return BrowsablePage(
            name=resource.name,
            description=resource.description,
            methods=methods,
            fields=resource.fields,
            form_method=self._form_method(http_request),
            status=response.status_code,
            headers=(("Allow", ", ".join(methods)), ("Vary", _VARY)),
            content=bytes(response.body),
            link=next(
                (value.decode() for name, value in response.raw_headers if name == b"Link"), None
            ),
        )

    def _form_method(self, http_request: Request) -> str:
        """Return what the form of a page does, "" where the client has no token for it."""
        if getattr(http_request.state, "account", None) is None or not self._resource.fields:
            return ""
        return "PATCH" if self._resource.patch is not None else "POST"

    def _with_headers(self, http_request: Request, response: Response, *, vary: str) -> Response:
        methods = self._resource.methods(http_request.scope.get("api_version"))
        # Clients look for these names in their usual spelling; Starlette writes lower case.
        response.raw_headers.append((b"Allow", ", ".join(methods).encode()))
        response.raw_headers.append((b"Vary", vary.encode()))
        return response


def _method_of(http_request: Request) -> str:
    """Return the method of a request. A form in a page names it in its URL: browsers only POST."""
    if http_request.method == "POST" and _has_form(http_request):
        wanted = http_request.query_params.get("_method")
        if wanted in ("PATCH", "POST"):
            return wanted
    return http_request.method


def _has_form(http_request: Request) -> bool:
    kind = http_request.headers.get("content-type", "").partition(";")[0].strip().lower()
    return kind in ("application/x-www-form-urlencoded", "multipart/form-data")


def _require_same_site(http_request: Request) -> None:
    """Refuse a form of another site: a browser may send a name and password along with it."""
    site = http_request.headers.get("sec-fetch-site", "none")
    origin = http_request.headers.get("origin")
    host = http_request.headers.get("host", "")
    is_own = origin is None or origin.partition("//")[2] == host
    if _has_form(http_request) and (site not in ("none", "same-origin") or not is_own):
        raise ApiError(403, {"detail": "This form is from another site."})


def _run_endpoint(http_request: Request, endpoint: PlainEndpoint) -> Response:
    """Run an endpoint for a client whose token, if it sent one, is valid.

    Where a site was imported, a path without the slash at its end is redirected, as in Patchwork.
    """
    path: str = http_request.scope.get("original_path", "/")
    if not path.endswith("/") and http_request.method in ("GET", "HEAD"):
        request = parse_request(http_request)
        if request.site.numbers.is_imported:
            query = http_request.url.query
            return redirect_response(f"{path}/{'?' if query else ''}{query}", 301)
    if "authorization" in http_request.headers:
        request = parse_request(http_request)
        with request.read() as connection:
            request.find_account(connection)
    return endpoint(http_request)


def _require_account(http_request: Request) -> None:
    request = parse_request(http_request)
    with request.read() as connection:
        request.require_account(connection)


async def _read_body(http_request: Request, limit: int) -> bytes:
    """Return the body of a request, read in bounded memory."""
    body = bytearray()
    async for chunk in http_request.stream():
        body += chunk
        if len(body) > limit:
            raise ApiError(413, {"detail": "The body is too large."})
    return bytes(body)
