"""Pages at the places where a Patchwork site has them: bundles, to-do, login, about, mail."""

from __future__ import annotations

from urllib.parse import urlencode

from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from ingest import __version__
from ingest.api.changes.bundles import find_bundle_by_path
from ingest.api.context import ApiRequest, parse_request
from ingest.api.records.prefetch import prefetch
from ingest.api.responses import redirect_response
from ingest.api.urls import path_of
from ingest.api.web.html import Html, el
from ingest.api.web.layout import pairs, render_page
from ingest.api.web.patch_list import patch_table
from ingest.store.activity.accounts import Account, read_accounts
from ingest.store.read import messages
from ingest.store.read.pages.bundle_pages import BundleFilter, find_bundle_ids
from ingest.store.read.pages.filters import Page, PatchFilter, RowSelector
from ingest.store.read.pages.page_queries import find_patch_ids
from ingest.store.site.bundles import read_bundles

_MAX_PATCHES = 200


def bundle_page(http_request: Request) -> Response:
    """Return the page of a bundle that the client may see."""
    request = parse_request(http_request)
    with request.read() as connection:
        bundle = find_bundle_by_path(connection, request)
        owner = read_accounts(connection, [bundle.account_id])[bundle.account_id]
        patches = list(messages.read_messages(connection, bundle.patches, brief=True))
        prefetched = prefetch(connection, patches, date_all=False)
        table = patch_table(connection, patches, prefetched, request)
    download = f"{path_of('bundle', owner.name, bundle.name)}mbox/"
    return render_page(
        f"Bundle: {bundle.name}",
        pairs(
            [
                ("Owner", owner.name),
                ("Visible to", "everybody" if bundle.public else "its owner"),
            ]
        ),
        el("p", el("a", "Download for git am", href=download), class_="actions"),
        table if patches else el("p", "No patches."),
    )


def xmlrpc_gone(_http_request: Request) -> Response:
    """Respond that there is no XML-RPC any more, which Patchwork has off by default."""
    message = "XML-RPC is not supported: use the REST API, /api/ (pwclient: backend=rest).\n"
    return PlainTextResponse(message, 410)


def about_page(_http_request: Request) -> Response:
    """Return the page that says what this site is."""
    return render_page(
        "About",
        el("p", f"This is ingest {__version__}. It has the records of patches on mailing lists."),
        el(
            "p",
            "Programs read and change them through the ",
            el("a", "API", href="/api/"),
            ", which is that of Patchwork; ",
            el("a", "its description", href="/api/schema/"),
            " is in OpenAPI.",
        ),
    )


def mail_page(_http_request: Request) -> Response:
    """Return the page at which Patchwork lets people refuse its mail."""
    return render_page("Mail settings", el("p", "This site sends no mail to anybody."))


def login_page(_http_request: Request) -> Response:
    """Return the page that says how to identify oneself."""
    return render_page(
        "Login",
        el("p", "Programs send the token of an account; a maintainer of the site makes it:"),
        el("pre", el("code", "ingest token add NAME")),
        el("p", "Everything that is public can be read without it."),
    )


def todo_page(http_request: Request) -> Response:
    """Return the patches that wait for the account of the request's token."""
    request = parse_request(http_request)
    with request.read() as connection:
        account = request.find_account(connection)
        if account is None:
            return _redirect_to_login("/user/todo/")
        content = _todo_content(connection, account, request)
    return render_page(f"To do: {account.name}", content)


def _todo_content(connection: Connection, account: Account, request: ApiRequest) -> Html:
    wanted = PatchFilter(
        states=request.site.action_required_slugs,
        archived=False,
        delegates=RowSelector((account.id,), ()),
    )
    ids = find_patch_ids(connection, wanted, Page(1, _MAX_PATCHES, "date", descending=False))
    patches = list(messages.read_messages(connection, ids[:_MAX_PATCHES], brief=True))
    if not patches:
        return el("p", "No patch that is assigned to you needs action.")
    prefetched = prefetch(connection, patches, date_all=False)
    return patch_table(connection, patches, prefetched, request)


def bundles_page(http_request: Request) -> Response:
    """Return the bundles of the account of the request's token."""
    request = parse_request(http_request)
    with request.read() as connection:
        account = request.find_account(connection)
        if account is None:
            return _redirect_to_login("/user/bundles/")
        wanted = BundleFilter(viewer_id=account.id, owners=RowSelector((account.id,), ()))
        ids = find_bundle_ids(connection, wanted, Page(1, _MAX_PATCHES, "name", descending=False))
        bundles = read_bundles(connection, ids[:_MAX_PATCHES])
    items = [
        el("li", el("a", bundle.name, href=path_of("bundle", account.name, bundle.name)))
        for bundle in bundles.values()
    ]
    content = el("ul", items) if items else el("p", "You have no bundles.")
    return render_page(f"Bundles of {account.name}", content)


def _redirect_to_login(path: str) -> Response:
    # A slash in the parameter is as Patchwork writes it.
    return redirect_response(f"/user/login/?{urlencode({'next': path}, safe='/')}")
