"""The routes of the web pages."""

from __future__ import annotations

from starlette.routing import BaseRoute, Route

from ingest.api.web import lists, message, patch_list, series, site, status

_GET = ["GET"]


def web_routes() -> list[BaseRoute]:
    """Return the routes of the pages."""
    return [
        Route("/", lists.index_page, methods=_GET),
        Route("/style.css", lists.stylesheet, methods=_GET),
        Route("/state", status.status_page, methods=_GET),
        Route("/patch/{id:row}", message.patch_number_redirect, methods=_GET),
        Route("/cover/{id:row}", message.cover_number_redirect, methods=_GET),
        Route("/comment/{id:row}", message.comment_number_redirect, methods=_GET),
        Route("/series/{id:row}", series.series_redirect, methods=_GET),
        Route("/bundle/{owner:part}/{name:part}", site.bundle_page, methods=_GET),
        Route("/user/todo", site.todo_page, methods=_GET),
        Route("/user/bundles", site.bundles_page, methods=_GET),
        Route("/user/login", site.login_page, methods=_GET),
        Route("/about", site.about_page, methods=_GET),
        Route("/mail", site.mail_page, methods=_GET),
        Route("/xmlrpc", site.xmlrpc_gone, methods=["GET", "POST"]),
        Route("/project/{link:part}", lists.project_redirect, methods=_GET),
        Route("/project/{link:part}/list", patch_list.patch_list_page, methods=_GET),
        Route("/project/{link:part}/series", lists.series_list_page, methods=_GET),
        Route("/project/{link:part}/patches", patch_list.old_list_redirect, methods=_GET),
        Route("/project/{link:part}/patch/{msgid:msgid}", message.patch_page, methods=_GET),
        Route("/project/{link:part}/cover/{msgid:msgid}", message.cover_page, methods=_GET),
        Route("/project/{link:part}/comment/{msgid:msgid}", message.comment_redirect, methods=_GET),
    ]
