"""Packages that only some configurations need.

Input: what needs a package, and the extra of ours that brings it. Refuses, with `ConfigError` and
one line that says what to install, what is not there.
"""

from __future__ import annotations

from importlib import import_module

from ingest.config.file import Config, ConfigError


def require(module: str, *, extra: str, needed_by: str) -> None:
    """Import the module, for those who import from it next. Raises `ConfigError`."""
    try:
        import_module(module)
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"{needed_by} needs {error.name}; `pip install patch-ingest[{extra}]` brings it"
        ) from None


def require_api() -> None:
    """Refuse, with `ConfigError`, to serve the API without a server for it."""
    require("ingest.api.server", extra="api", needed_by="[api]")


def require_configured(config: Config) -> None:
    """Refuse, with `ConfigError`, a configuration for which a package is missing."""
    if config.api is not None:
        require_api()
    if config.trust.keyrings:
        require("patatt", extra="patatt", needed_by="[trust] keyrings")
