"""The settings: each variable with its type, its default, and what its value may be."""

import ipaddress
import os
import re
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import BeforeValidator, Field, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from sluice.domain.rollout import Share
from sluice.infrastructure.settings.addresses import (
    FlagProvider,
    RedisStore,
    SqliteStore,
    StoreAddress,
    address,
    host,
    origin,
    parse_flag_provider,
    parse_store,
    web_address,
    without_password,
)

_LONGEST = 1e9
"""Seconds, thirty years: more, and no clock could count them."""
Seconds = Annotated[float, Field(gt=0, le=_LONGEST, allow_inf_nan=False)]
_LONGEST_WAIT = 28 * 86400
"""Seconds: a log that waits longer for its end would be forgotten by its chat's index."""
Port = Annotated[int, Field(ge=0, le=65535)]
Count = Annotated[int, Field(ge=1)]
_DOTTED = r"[^\W\d]\w*(?:\.[^\W\d]\w*)*"
_FACTORY = re.compile(f"{_DOTTED}:{_DOTTED}")
_CANCEL = re.compile(r"cancel:([0-9]{1,9}(?:\.[0-9]+)?)")
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Header = Annotated[str, Field(pattern=r"^[A-Za-z0-9!#$%&'*+.^_`|~-]+$")]
"""The name of an HTTP header, or of a front end that sends one of its own."""


def _listed(value: Any) -> Any:
    """A default is a tuple already."""
    if not isinstance(value, str):
        return value
    return [part.strip() for part in value.split(",") if part.strip()]


Listed = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_listed)]


Protocol = Literal["langgraph", "ai-sdk", "openai", "ag-ui", "copilotkit"]
"""Other people's, by the names that interfaces/protocols/served.py knows."""


def _protocols(value: Any) -> Any:
    """Empty is unset, and that means all: so none of them has a word of its own."""
    names = _listed(value)
    if not names:
        raise ValueError("names no protocol; none is the word for that")
    return () if names == ["none"] else names


def _default_store() -> StoreAddress:
    data = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return SqliteStore(Path(data) / "sluice" / "sluice.db")


class WrongSetting(Exception):
    """One line that names the variable, whatever a value holds."""

    def __init__(self, text: str) -> None:
        super().__init__(" ".join(text.split()))


class Settings(BaseSettings):
    """Field names are the variables' names in lower case, without `SLUICE_`."""

    model_config = SettingsConfigDict(
        env_prefix="SLUICE_", env_ignore_empty=True, extra="ignore", populate_by_name=True
    )

    enable_token_streaming: Annotated[Share, NoDecode, BeforeValidator(Share.parse)] = Field(
        default=Share(100, fixed=True), validation_alias="ENABLE_TOKEN_STREAMING"
    )
    allow_path_header: bool = False
    fallback: bool = False
    shadow: Annotated[Share, NoDecode, BeforeValidator(Share.parse)] = Share(0)
    shadow_budget: Count = 100_000
    outcomes_retention: Seconds = 2592000
    admins: Listed = ()
    flag_provider: Annotated[
        FlagProvider | None, NoDecode, BeforeValidator(parse_flag_provider)
    ] = None
    openai_api_key: str | None = Field(None, validation_alias="OPENAI_API_KEY", repr=False)
    openai_base_url: str | None = Field(None, validation_alias="OPENAI_BASE_URL")
    openai_model: str | None = Field(None, validation_alias="OPENAI_MODEL")
    models: Listed = ()

    host: str = "127.0.0.1"
    port: Port = 8000
    metrics_port: Port | None = None
    store: Annotated[StoreAddress, NoDecode, BeforeValidator(parse_store)] = Field(
        default_factory=_default_store
    )
    database: str | None = Field(None, repr=False)
    pipeline: str | None = None
    speaking_nodes: Listed = ()
    tool_nodes: Listed = ()
    reasoning_nodes: Listed = ()
    data_nodes: Listed = ()
    documents: Path | None = None
    instrument: Literal["openai", "none"] = "openai"
    state: Literal["chat", "graph"] = "chat"

    auth: Literal["none", "jwt", "trusted-header"] = "none"
    allow_anonymous: bool = False
    allowed_hosts: Listed = ()
    jwt_secret: str | None = Field(None, repr=False)
    jwt_jwks: str | None = None
    jwt_audience: str | None = None
    jwt_issuer: str | None = None
    trusted_proxies: Annotated[tuple[Network, ...], NoDecode, BeforeValidator(_listed)] = (
        ipaddress.ip_network("127.0.0.0/8"),
        ipaddress.ip_network("::1/128"),
    )

    side_calls: Literal["model", "refuse", "pipeline"] = "model"
    user_header: Header | None = None
    chat_header: Header | None = None

    connect_timeout: Seconds = 5
    first_token_timeout: Seconds = 30
    idle_timeout: Seconds = 30
    total_timeout: Seconds = 600
    input_timeout: Annotated[float, Field(gt=0, le=_LONGEST_WAIT, allow_inf_nan=False)] = 86400
    upstream_retries: Annotated[int, Field(ge=0, le=10)] = 2
    piece_interval: Annotated[float, Field(ge=0, le=10, allow_inf_nan=False)] = 0.1

    on_disconnect: str = "continue"
    when_busy: Literal["enqueue", "reject", "interrupt"] = "enqueue"
    retention: Seconds = 3600
    max_running: Count = 64
    max_queued: Count = 1000
    user_running: Count = 3
    user_queued: Count = 10
    user_streams: Count = 100
    max_message_bytes: Count = 65536
    max_answer_bytes: Count = 4 * 1024 * 1024
    shutdown_grace: Annotated[float, Field(ge=0, le=_LONGEST, allow_inf_nan=False)] = 30

    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    otel_genai: Literal["new", "old", "both"] = "new"
    log_format: Literal["console", "json"] | None = None
    cors_origins: Listed = ()
    protocols: Annotated[frozenset[Protocol], NoDecode, BeforeValidator(_protocols)] = frozenset(
        get_args(Protocol)
    )

    @property
    def offline(self) -> bool:
        """Nobody named an upstream: the bundled offline model answers."""
        return self.openai_api_key is None and self.openai_base_url is None

    @property
    def orphaned_after(self) -> float | None:
        """Seconds without a reader until a job is cancelled; None: it runs on."""
        return None if self.on_disconnect == "continue" else float(self.on_disconnect[7:])

    @field_validator("openai_api_key")
    @classmethod
    def _key(cls, value: str | None) -> str | None:
        if value and not (value.isascii() and value.isprintable()):
            raise ValueError("holds a character that no HTTP header can carry")
        return value

    @field_validator("openai_base_url")
    @classmethod
    def _base_url(cls, value: str | None) -> str | None:
        return value and web_address(value)

    @field_validator("jwt_jwks")
    @classmethod
    def _key_set(cls, value: str | None) -> str | None:
        return web_address(value) if value and "://" in value else value

    @field_validator("on_disconnect")
    @classmethod
    def _disconnect(cls, value: str) -> str:
        if value != "continue" and not _CANCEL.fullmatch(value):
            raise ValueError("is continue, or cancel:SECONDS")
        return value

    @property
    def distributed(self) -> bool:
        """Any number of gateways and workers share the store."""
        return isinstance(self.store, RedisStore)

    @property
    def shown_store(self) -> str:
        """Where things are kept, without a password."""
        shown = [str(self.store)]
        if self.database is not None:
            shown.append(without_password(self.database))
        return ", ".join(shown)

    @field_validator("database")
    @classmethod
    def _database(cls, value: str | None) -> str | None:
        if value is None:
            return None
        if not value.startswith(("postgresql://", "postgres://")):
            raise ValueError("is postgresql://user@host/name")
        return address(value, "postgresql://user@host/name")

    @field_validator("cors_origins")
    @classmethod
    def _origins(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if any("*" in each for each in value):
            raise ValueError("lists origins; * would let every site in with the user's cookies")
        return tuple(map(origin, value))

    @field_validator("allowed_hosts")
    @classmethod
    def _hosts(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(map(host, value))

    @field_validator("pipeline")
    @classmethod
    def _pipeline(cls, value: str | None) -> str | None:
        if value and not _FACTORY.fullmatch(value):
            raise ValueError("is module:factory")
        return value
