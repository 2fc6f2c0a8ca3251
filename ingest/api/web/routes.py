"""Which path is which page."""

from __future__ import annotations

from starlette.routing import BaseRoute, Route

from ingest.api.web import lists, message, series, status

_GET = ["GET"]


def routes() -> list[BaseRoute]:
    """To stand behind those of the downloads, whose paths are longer."""
    return [
        Route("/", lists.lists, methods=_GET),
        Route("/style.css", lists.style, methods=_GET),
        Route("/state", status.state, methods=_GET),
        Route("/patch/{id:row}", message.patch_by_number, methods=_GET),
        Route("/cover/{id:row}", message.cover_by_number, methods=_GET),
        Route("/series/{id:row}", series.series, methods=_GET),
        Route("/project/{link:part}", lists.project, methods=_GET),
        Route("/project/{link:part}/list", lists.of_project, methods=_GET),
        Route("/project/{link:part}/patches", lists.patches, methods=_GET),
        Route("/project/{link:part}/patch/{msgid:msgid}", message.patch, methods=_GET),
        Route("/project/{link:part}/cover/{msgid:msgid}", message.cover, methods=_GET),
        Route("/project/{link:part}/comment/{msgid:msgid}", message.comment, methods=_GET),
    ]
