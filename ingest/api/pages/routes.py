"""Which path is which page."""

from __future__ import annotations

from starlette.routing import BaseRoute, Route

from ingest.api.pages import lists, message, series, state

_GET = ["GET"]


def routes() -> list[BaseRoute]:
    """To stand behind those of the downloads, whose paths are longer."""
    return [
        Route("/", lists.lists, methods=_GET),
        Route("/style.css", lists.style, methods=_GET),
        Route("/state", state.state, methods=_GET),
        Route("/patch/{id:int}", message.patch_by_number, methods=_GET),
        Route("/cover/{id:int}", message.cover_by_number, methods=_GET),
        Route("/series/{id:int}", series.series, methods=_GET),
        Route("/project/{link}", lists.project, methods=_GET),
        Route("/project/{link}/list", lists.of_project, methods=_GET),
        Route("/project/{link}/patches", lists.patches, methods=_GET),
        Route("/project/{link}/patch/{msgid:path}", message.patch, methods=_GET),
        Route("/project/{link}/cover/{msgid:path}", message.cover, methods=_GET),
        Route("/project/{link}/comment/{msgid:path}", message.comment, methods=_GET),
    ]
