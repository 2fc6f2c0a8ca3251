"""Bind the address of the API, and show it."""

from __future__ import annotations

from ingest.config.settings import API_SOCKET_MODE, ApiConfig
from ingest.config.sockets import UnixAddress
from ingest.net.bind import Endpoint, ListenError, bind_sockets


def bind_api(settings: ApiConfig) -> Endpoint:
    """Bind the address of the API. Raises `ListenError`."""
    try:
        return bind_sockets(settings.listen, mode=API_SOCKET_MODE)
    except ListenError as error:
        raise ListenError(f"cannot serve the API at {error}") from None


def format_urls(endpoint: Endpoint) -> str:
    """Return the addresses of an endpoint as URLs, joined by commas."""
    return ", ".join(
        str(address) if isinstance(address, UnixAddress) else f"http://{address}"
        for address in endpoint.addresses
    )
