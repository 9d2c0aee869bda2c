"""Settings that are wrong, or do not go together: one line that names the variable."""

import pytest

from sluice.infrastructure.settings import (
    WrongSetting,
    check_environment,
    checks,
    read_settings,
)

pytestmark = pytest.mark.usefixtures("no_settings")

WRONG = {
    "ENABLE_TOKEN_STREAMING": [
        "yes please",
        "25",
        "101%",
        "-1%",
        "1e1%",
        "nan%",
        "%",
        "25%%",
        "２5%",
    ],
    "OPENAI_BASE_URL": [
        "localhost:8000/v1",
        "ftp://model",
        "http://",
        "nonsense",
        "http://:80/v1",
        "http://h:99999/v1",
        "http://h:x/v1",
        "http://[::1/v1",
        "http://a b/v1",
    ],
    "OPENAI_API_KEY": ["a\nb", "schlüssel"],
    "SLUICE_JWT_JWKS": ["ftp://keys", "https://h:x/keys"],
    "SLUICE_ALLOW_PATH_HEADER": ["perhaps"],
    "SLUICE_FLAG_PROVIDER": [
        "flags:8013",
        "flagd://",
        "flagd:///",
        "flagd://h:x",
        "flagd://h:0",
        "flagd://u:p@h:1",
        "flagd://h:1/path",
        "https://h",
        "ofrep://h",
        "ofrep+https://",
        "ofrep+ftp://h",
    ],
    "SLUICE_PORT": ["http", "-1", "65536", "80.5"],
    "SLUICE_METRICS_PORT": ["http", "-1", "65536"],
    "SLUICE_STORE": [
        "redis://",
        "redis://h:x",
        "redis://h/zero",
        "redis://h:1/0/1?a=b",
        "redis://u:p@:1\n/",
        "postgres://x",
        "sqlite://a.db",
        "sqlite:///",
        "/tmp/a.db",
    ],
    "SLUICE_PIPELINE": ["module", "module:", ":factory", "a:b:c", "..a:b", "a b:c", "a:b()"],
    "SLUICE_AUTH": ["basic", "JWT"],
    "SLUICE_ALLOW_ANONYMOUS": ["perhaps"],
    "SLUICE_ALLOWED_HOSTS": [
        "*",
        "*.a.example",
        "https://a.example",
        "a/b",
        "a@b",
        "a b",
        "a:b",
        ".",
    ],
    "SLUICE_TRUSTED_PROXIES": ["proxy.example", "10.0.0.0/8,10.0.0.1/99"],
    "SLUICE_CONNECT_TIMEOUT": ["0", "-1", "soon", "nan", "inf"],
    "SLUICE_FIRST_TOKEN_TIMEOUT": ["0"],
    "SLUICE_IDLE_TIMEOUT": ["0"],
    "SLUICE_TOTAL_TIMEOUT": ["0"],
    "SLUICE_UPSTREAM_RETRIES": ["-1", "1.5", "many"],
    "SLUICE_PIECE_INTERVAL": ["-1", "11", "nan", "soon"],
    "SLUICE_ON_DISCONNECT": [
        "stop",
        "cancel",
        "cancel:",
        "cancel:-1",
        "cancel:soon",
        "cancel:٣",
        "cancel:1e3",
        "cancel:9999999999",
    ],
    "SLUICE_WHEN_BUSY": ["wait"],
    "SLUICE_RETENTION": ["0", "inf", "1e300"],
    "SLUICE_MAX_RUNNING": ["0"],
    "SLUICE_MAX_QUEUED": ["0"],
    "SLUICE_USER_RUNNING": ["0"],
    "SLUICE_USER_QUEUED": ["-3"],
    "SLUICE_USER_STREAMS": ["all"],
    "SLUICE_MAX_MESSAGE_BYTES": ["64k"],
    "SLUICE_MAX_ANSWER_BYTES": ["0"],
    "SLUICE_SHUTDOWN_GRACE": ["-1", "nan", "1e300"],
    "SLUICE_LOG_LEVEL": ["TRACE"],
    "SLUICE_LOG_FORMAT": ["xml"],
    "SLUICE_DATABASE": ["sqlite:///a.db", "postgresql://", "postgresql://h:0/a"],
    "SLUICE_PROTOCOLS": ["ag-uii", "openai,none", "none,none", "native", "OpenAI", ",", "all"],
    "SLUICE_CORS_ORIGINS": [
        "https://*.example",
        "*",
        "example.com",
        "https://a.example/path",
        "https://a\nb/c",
        "https://a b",
        "https://h:x",
        "https://user@a.example",
        "https://A.example",
        "https://a.example:443",
        "http://a.example:80",
        "http://a.example:",
    ],
}


@pytest.mark.parametrize(
    ("variable", "text"), [(name, text) for name, texts in WRONG.items() for text in texts]
)
def test_a_wrong_value_is_told_in_one_line_that_begins_with_the_variable(
    variable: str, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_MODEL", "some-model")
    monkeypatch.setenv(variable, text)
    with pytest.raises(WrongSetting) as refused:
        read_settings()
    line = str(refused.value)
    assert line.startswith(f"{variable}: ")
    assert len(line.splitlines()) == 1


def test_a_wrong_option_of_the_command_line_names_its_variable() -> None:
    with pytest.raises(WrongSetting, match=r"^SLUICE_STORE: "):
        read_settings(store="nowhere")


@pytest.mark.parametrize(
    ("given", "variable"),
    [
        ({"OPENAI_API_KEY": "key"}, "OPENAI_MODEL"),
        ({"OPENAI_BASE_URL": "http://127.0.0.1:1/v1"}, "OPENAI_MODEL"),
        ({"SLUICE_AUTH": "jwt"}, "SLUICE_JWT_SECRET"),
        ({"SLUICE_STORE": "redis://127.0.0.1"}, "SLUICE_DATABASE"),
        ({"SLUICE_STORE": "memory://", "SLUICE_STATE": "graph"}, "SLUICE_STATE"),
        (
            {"SLUICE_STORE": "sqlite:///a.db", "SLUICE_STATE": "graph", "SLUICE_SHADOW": "1%"},
            "SLUICE_SHADOW",
        ),
        ({"SLUICE_HOST": "0.0.0.0"}, "SLUICE_AUTH"),
        ({"SLUICE_HOST": "::"}, "SLUICE_AUTH"),
        ({"SLUICE_HOST": "sluice.example"}, "SLUICE_AUTH"),
        ({"SLUICE_HOST": "10.0.0.1\nx"}, "SLUICE_AUTH"),
    ],
)
def test_what_does_not_go_together_is_told_in_one_line(
    given: dict[str, str], variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(WrongSetting) as refused:
        read_settings()
    assert str(refused.value).startswith(f"{variable}: ")
    assert len(str(refused.value).splitlines()) == 1


@pytest.mark.parametrize(
    "given",
    [
        {"OPENAI_API_KEY": "key", "OPENAI_MODEL": "m"},
        {"OPENAI_BASE_URL": "http://[::1]:1/v1", "OPENAI_MODEL": "m"},
        {"SLUICE_AUTH": "jwt", "SLUICE_JWT_SECRET": "s"},
        {"SLUICE_STORE": "redis://a", "SLUICE_DATABASE": "postgresql://b/c"},
        {"SLUICE_STORE": "sqlite:///a.db", "SLUICE_STATE": "graph"},
        {"SLUICE_STORE": "sqlite:///a.db", "SLUICE_SHADOW": "0.5%"},
        {
            "SLUICE_STORE": "memory://",
            "SLUICE_DATABASE": "postgresql://b/c",
            "SLUICE_STATE": "graph",
        },
        {"SLUICE_AUTH": "jwt", "SLUICE_JWT_JWKS": "https://a.example/keys"},
        {"SLUICE_HOST": "0.0.0.0", "SLUICE_ALLOW_ANONYMOUS": "true"},
        {"SLUICE_HOST": "0.0.0.0", "SLUICE_AUTH": "trusted-header"},
        {"SLUICE_HOST": "127.0.0.2"},
        {"SLUICE_HOST": "::1"},
        {"SLUICE_HOST": "localhost"},
        {"SLUICE_ON_DISCONNECT": "cancel:0.5"},
        {"SLUICE_PIPELINE": "package.module_1:_factory"},
    ],
)
def test_what_goes_together_is_taken(
    given: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    read_settings()


def test_a_worker_is_reached_by_nobody_and_asks_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLUICE_HOST", "0.0.0.0")
    with pytest.raises(WrongSetting, match="SLUICE_AUTH"):
        read_settings()
    read_settings(worker=True)


@pytest.mark.parametrize(
    ("provider", "library"), [("flagd://h", "flagd"), ("ofrep+https://h", "ofrep")]
)
def test_a_flag_provider_whose_extra_is_not_installed_is_told_in_one_line(
    provider: str, library: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def find_spec(name: str) -> None:
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(checks, "find_spec", find_spec)
    with pytest.raises(WrongSetting) as refused:
        check_environment(read_settings(store="memory://", flag_provider=provider))
    line = f"the extra `flags` is not installed (openfeature.contrib.provider.{library})"
    assert str(refused.value) == f"SLUICE_FLAG_PROVIDER: {line}"
