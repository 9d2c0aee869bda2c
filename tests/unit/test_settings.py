"""Settings: what nobody set, and what a value means."""

import re
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest

from sluice.domain.rollout import Share
from sluice.infrastructure.settings import (
    FlagProvider,
    MemoryStore,
    RedisStore,
    Settings,
    SqliteStore,
    StoreAddress,
    WrongSetting,
    read_settings,
)
from sluice.interfaces.processes.identity import forwarded_of

pytestmark = pytest.mark.usefixtures("no_settings")

DOCS = Path(__file__).parents[2] / "docs" / "settings.md"

DEFAULTS = {
    "ENABLE_TOKEN_STREAMING": 100,
    "OPENAI_API_KEY": None,
    "OPENAI_BASE_URL": None,
    "OPENAI_MODEL": None,
    "SLUICE_MODELS": (),
    "SLUICE_HOST": "127.0.0.1",
    "SLUICE_PORT": 8000,
    "SLUICE_STORE": "sqlite:////data/sluice/sluice.db",
    "SLUICE_DATABASE": None,
    "SLUICE_PIPELINE": None,
    "SLUICE_SPEAKING_NODES": (),
    "SLUICE_TOOL_NODES": (),
    "SLUICE_REASONING_NODES": (),
    "SLUICE_DATA_NODES": (),
    "SLUICE_DOCUMENTS": None,
    "SLUICE_INSTRUMENT": "openai",
    "SLUICE_AUTH": "none",
    "SLUICE_ALLOW_ANONYMOUS": False,
    "SLUICE_JWT_SECRET": None,
    "SLUICE_JWT_JWKS": None,
    "SLUICE_JWT_AUDIENCE": None,
    "SLUICE_JWT_ISSUER": None,
    "SLUICE_ALLOWED_HOSTS": (),
    "SLUICE_TRUSTED_PROXIES": (ip_network("127.0.0.0/8"), ip_network("::1")),
    "SLUICE_SIDE_CALLS": "model",
    "SLUICE_USER_HEADER": None,
    "SLUICE_CHAT_HEADER": None,
    "SLUICE_CONNECT_TIMEOUT": 5,
    "SLUICE_FIRST_TOKEN_TIMEOUT": 30,
    "SLUICE_IDLE_TIMEOUT": 30,
    "SLUICE_TOTAL_TIMEOUT": 600,
    "SLUICE_UPSTREAM_RETRIES": 2,
    "SLUICE_PIECE_INTERVAL": 0.1,
    "SLUICE_ON_DISCONNECT": "continue",
    "SLUICE_WHEN_BUSY": "enqueue",
    "SLUICE_RETENTION": 3600,
    "SLUICE_MAX_RUNNING": 64,
    "SLUICE_MAX_QUEUED": 1000,
    "SLUICE_USER_RUNNING": 3,
    "SLUICE_USER_QUEUED": 10,
    "SLUICE_USER_STREAMS": 100,
    "SLUICE_MAX_MESSAGE_BYTES": 65536,
    "SLUICE_MAX_ANSWER_BYTES": 4194304,
    "SLUICE_SHUTDOWN_GRACE": 30,
    "SLUICE_LOG_LEVEL": "INFO",
    "SLUICE_LOG_FORMAT": None,
    "SLUICE_CORS_ORIGINS": (),
    "SLUICE_PROTOCOLS": {"langgraph", "ai-sdk", "openai", "ag-ui", "copilotkit"},
    "SLUICE_ALLOW_PATH_HEADER": False,
    "SLUICE_ADMINS": (),
    "SLUICE_FLAG_PROVIDER": None,
    "SLUICE_FALLBACK": False,
    "SLUICE_SHADOW": 0,
    "SLUICE_SHADOW_BUDGET": 100_000,
    "SLUICE_OUTCOMES_RETENTION": 2592000,
}


def value_of(settings: Settings, variable: str) -> Any:
    value = getattr(settings, variable.removeprefix("SLUICE_").lower())
    match value:
        case Share():
            return value.percent
        case MemoryStore() | SqliteStore() | RedisStore():
            return str(value)
        case _:
            return value


def variables() -> set[str]:
    aliases = {name: field.validation_alias for name, field in Settings.model_fields.items()}
    return {str(alias or f"SLUICE_{name.upper()}") for name, alias in aliases.items()}


@pytest.mark.parametrize("variable", DEFAULTS)
def test_a_variable_that_is_not_set_has_the_default_of_the_contract(variable: str) -> None:
    assert value_of(read_settings(), variable) == DEFAULTS[variable]


def test_every_variable_of_the_contract_is_read() -> None:
    assert variables() >= set(DEFAULTS)


def test_the_docs_tell_of_every_variable_and_of_no_other() -> None:
    told = set(re.findall(r"\b(?:SLUICE|OPENAI|ENABLE)_[A-Z_]*[A-Z]\b", DOCS.read_text()))
    assert told == variables()


@pytest.mark.parametrize("variable", DEFAULTS)
def test_an_empty_variable_is_like_one_that_is_not_set(
    variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, "")
    assert value_of(read_settings(), variable) == DEFAULTS[variable]


def test_without_a_data_home_the_store_is_in_the_home_folder(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", "")
    monkeypatch.setenv("HOME", "/home/ann")
    assert read_settings().store == SqliteStore(Path("/home/ann/.local/share/sluice/sluice.db"))


@pytest.mark.parametrize(
    ("variable", "text", "value"),
    [
        ("SLUICE_MODELS", " a, b ,,c", ("a", "b", "c")),
        ("SLUICE_SPEAKING_NODES", "answer,outer/inner", ("answer", "outer/inner")),
        ("SLUICE_TOOL_NODES", "model, tools", ("model", "tools")),
        ("SLUICE_REASONING_NODES", "model", ("model",)),
        ("SLUICE_DATA_NODES", "outer/find", ("outer/find",)),
        ("SLUICE_CORS_ORIGINS", "https://a.example,http://localhost:3000, http://[::1]:443",
         ("https://a.example", "http://localhost:3000", "http://[::1]:443")),
        ("SLUICE_TRUSTED_PROXIES", "10.0.0.0/8, 192.0.2.7",
         (ip_network("10.0.0.0/8"), ip_network("192.0.2.7/32"))),
        ("SLUICE_ALLOWED_HOSTS", "Chat.example.com:443, ::1, [::1]:1, münchen.example",
         ("chat.example.com", "::1", "[::1]", "xn--mnchen-3ya.example")),
        ("SLUICE_PORT", "0", 0),
        ("SLUICE_IDLE_TIMEOUT", "0.5", 0.5),
        ("SLUICE_SHUTDOWN_GRACE", "0", 0),
        ("SLUICE_UPSTREAM_RETRIES", "0", 0),
        ("SLUICE_STORE", "memory://", "memory://"),
        ("SLUICE_STORE", "sqlite:///rel.db", "sqlite:///rel.db"),
        ("SLUICE_DATABASE", "postgresql://a@b/c", "postgresql://a@b/c"),
        ("SLUICE_DOCUMENTS", "notes", Path("notes")),
        ("SLUICE_LOG_FORMAT", "json", "json"),
        ("SLUICE_USER_HEADER", "open-webui", "open-webui"),
        ("SLUICE_SIDE_CALLS", "refuse", "refuse"),
        ("SLUICE_ADMINS", "ann, bob@example.com", ("ann", "bob@example.com")),
        ("SLUICE_FLAG_PROVIDER", "flagd://flags", FlagProvider("flags", 8013)),
        ("SLUICE_FLAG_PROVIDER", "flagd://flags:1", FlagProvider("flags", 1)),
        ("SLUICE_FLAG_PROVIDER", "flagd://[::1]:80", FlagProvider("[::1]", 80)),
        ("SLUICE_FLAG_PROVIDER", "flagd:///a/b c.json", FlagProvider(file="/a/b c.json")),
        ("SLUICE_FLAG_PROVIDER", "ofrep+https://h/x", FlagProvider(url="https://h/x")),
    ],
)  # fmt: skip
def test_a_value_is_read_as_what_it_means(
    variable: str, text: str, value: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, text)
    assert value_of(read_settings(), variable) == value


@pytest.mark.parametrize(
    ("text", "percent"),
    [
        ("true", 100), ("on", 100), ("1", 100), ("TRUE", 100), ("100%", 100),
        ("false", 0), ("off", 0), ("0", 0), ("0%", 0), ("0.0%", 0),
        ("25%", 25), ("0.5%", 0.5), ("99.99%", 99.99), (" 7% ", 7),
    ],
)  # fmt: skip
def test_the_flag_is_on_off_or_a_share(
    text: str, percent: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only a percentage may be replaced while the service runs."""
    monkeypatch.setenv("ENABLE_TOKEN_STREAMING", text)
    assert read_settings().enable_token_streaming == Share(percent, fixed="%" not in text)


@pytest.mark.parametrize(
    ("text", "seconds"), [("continue", None), ("cancel:0", 0), ("cancel:20", 20)]
)
def test_what_a_leaving_reader_means(
    text: str, seconds: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLUICE_ON_DISCONNECT", text)
    assert read_settings().orphaned_after == seconds


def test_an_option_of_the_command_line_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLUICE_PORT", "1")
    assert read_settings(port=2).port == 2


def test_the_offline_model_answers_where_neither_a_key_nor_a_base_url_is_set(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OPENAI_MODEL", "m")
    assert read_settings().offline
    monkeypatch.setenv("OPENAI_API_KEY", "key")
    assert not read_settings().offline


def test_no_secret_shows_where_settings_are_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "SLUICE_JWT_SECRET"):
        monkeypatch.setenv(name, "canary")
    monkeypatch.setenv("SLUICE_FLAG_PROVIDER", "ofrep+https://ann:canary@flags.example")
    monkeypatch.setenv("OPENAI_MODEL", "m")
    assert "canary" not in repr(read_settings())


@pytest.mark.parametrize(
    ("text", "store"),
    [
        ("memory://", MemoryStore()),
        ("sqlite:///rel.db", SqliteStore(Path("rel.db"))),
        ("sqlite:////data/a b.db", SqliteStore(Path("/data/a b.db"))),
        ("redis://h", RedisStore("redis://h")),
        ("rediss://u:p@h:1/2?protocol=3", RedisStore("rediss://u:p@h:1/2?protocol=3")),
    ],
)
def test_a_stores_address_is_parsed_once(text: str, store: StoreAddress) -> None:
    settings = read_settings(store=text, database="postgresql://h/d")
    assert settings.store == store
    assert settings.distributed == isinstance(store, RedisStore)


def test_where_things_are_kept_is_shown_without_passwords() -> None:
    settings = read_settings(
        store="rediss://:secret@redis.example:6380/1?password=secret",
        database="postgresql://ann:secret@postgres.example/chats?sslpassword=secret",
    )
    assert settings.distributed
    shown = "rediss://redis.example:6380/1, postgresql://postgres.example/chats"
    assert settings.shown_store == shown
    assert "secret" not in repr(settings)


@pytest.mark.parametrize(
    ("user", "chat", "headers"),
    [
        ("open-webui", "open-webui", ("X-OpenWebUI-User-Id", "X-OpenWebUI-Chat-Id")),
        ("librechat", "librechat", ("X-LibreChat-User-Id", "X-LibreChat-Conversation-Id")),
        ("X-Email", "", ("X-Email", None)),
        ("", "", (None, None)),
    ],
)
def test_a_front_ends_name_stands_for_its_headers(
    user: str, chat: str, headers: tuple[str | None, str | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLUICE_USER_HEADER", user)
    monkeypatch.setenv("SLUICE_CHAT_HEADER", chat)
    forwarded = forwarded_of(read_settings())
    assert (forwarded.user_header, forwarded.chat_header) == headers
    assert forwarded.proxies == DEFAULTS["SLUICE_TRUSTED_PROXIES"]


def test_a_header_that_no_request_could_carry_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLUICE_CHAT_HEADER", "X Chat")
    with pytest.raises(WrongSetting, match="SLUICE_CHAT_HEADER"):
        read_settings()
