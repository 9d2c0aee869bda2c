"""Settings as a whole: read, held against each other, and against what is installed."""

import ipaddress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from sluice.infrastructure.settings.addresses import MemoryStore
from sluice.infrastructure.settings.model import Settings, WrongSetting


def read_settings(*, worker: bool = False, **given: Any) -> Settings:
    """Raises WrongSetting. A `worker` asks nobody who they are: no request reaches it."""
    try:
        settings = Settings(**given)
    except ValidationError as error:
        first = error.errors()[0]
        variable = _variable(str(first["loc"][0]))
        message = first["msg"].removeprefix("Value error, ")
        raise WrongSetting(f"{variable}: {message}") from None
    _check_together(settings, worker=worker)
    return settings


def check_environment(settings: Settings, *, worker: bool = False) -> None:
    """Tells what is not there before the libraries load that would need it. Raises WrongSetting."""
    if worker and not settings.distributed:
        raise WrongSetting("SLUICE_STORE: workers and gateways share a Redis: redis://host")
    if settings.distributed:
        _require("SLUICE_STORE", "cluster", "redis")
    if settings.database:
        _require("SLUICE_DATABASE", "cluster", "psycopg", "psycopg_pool")
    if settings.state == "graph" and (worker or not settings.distributed):
        kind = "postgres" if settings.database else "sqlite"
        _require("SLUICE_STATE", "state", f"langgraph.checkpoint.{kind}")
    if settings.flag_provider is not None and not worker:
        kind = "ofrep" if settings.flag_provider.url else "flagd"
        _require("SLUICE_FLAG_PROVIDER", "flags", f"openfeature.contrib.provider.{kind}")
    if settings.documents is not None and not settings.documents.is_dir():
        raise WrongSetting(f"SLUICE_DOCUMENTS: {settings.documents} is no folder")
    keys = settings.jwt_jwks
    if settings.auth == "jwt" and keys and "://" not in keys and not Path(keys).is_file():
        raise WrongSetting(f"SLUICE_JWT_JWKS: {keys} is no file")


def _require(setting: str, extra: str, *libraries: str) -> None:
    for name in libraries:
        if not _installed(name):
            raise WrongSetting(f"{setting}: the extra `{extra}` is not installed ({name})")


def _installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # nor is the package that it would be in
        return False


def _variable(field: str) -> str:
    if field.isupper():
        return field
    known = Settings.model_fields.get(field)
    alias = known and known.validation_alias
    return alias if isinstance(alias, str) else f"SLUICE_{field.upper()}"


def _check_together(settings: Settings, *, worker: bool) -> None:
    if not settings.offline and settings.openai_model is None:
        raise WrongSetting("OPENAI_MODEL: is required once a key or a base URL is set")
    if settings.distributed and settings.database is None:
        raise WrongSetting("SLUICE_DATABASE: is required with a Redis store: postgresql://…")
    in_memory = isinstance(settings.store, MemoryStore) and settings.database is None
    if settings.state == "graph" and in_memory:
        raise WrongSetting(
            "SLUICE_STATE: graph needs a store that keeps it: SLUICE_STORE=sqlite:///…,"
            " or SLUICE_DATABASE"
        )
    if settings.state == "graph" and settings.shadow.percent:
        raise WrongSetting(
            "SLUICE_SHADOW: SLUICE_STATE=graph keeps a state, which a shadow may not change: set 0%"
        )
    if worker:
        return
    if settings.auth == "jwt" and not (settings.jwt_secret or settings.jwt_jwks):
        raise WrongSetting("SLUICE_JWT_SECRET: jwt needs it, or SLUICE_JWT_JWKS")
    if settings.auth == "none" and not settings.allow_anonymous and not _loopback(settings.host):
        raise WrongSetting(
            f"SLUICE_AUTH: none would open {settings.host} to everybody;"
            " set it, or SLUICE_ALLOW_ANONYMOUS=true"
        )


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
