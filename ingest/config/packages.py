"""Check for packages that only some configurations need.

A missing package raises `ConfigError`, whose single line says what to install.
"""

from __future__ import annotations

from importlib import import_module

from ingest.config.settings import Config, ConfigError


def require_module(module: str, *, extra: str, needed_by: str) -> None:
    """Import a module that `extra` installs, or raise `ConfigError` if a package is missing."""
    try:
        import_module(module)
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"{needed_by} needs the package {error.name}; "
            f"install it with `pip install patch-ingest[{extra}]`"
        ) from None


def require_api() -> None:
    """Raise `ConfigError` if the packages of the API are not installed."""
    require_module("ingest.api.server", extra="api", needed_by="[api]")


def require_configured(config: Config) -> None:
    """Raise `ConfigError` if a package that the configuration needs is not installed."""
    if config.api is not None:
        require_api()
    if config.trust.keyrings:
        require_module("patatt", extra="patatt", needed_by="[trust] keyrings")
