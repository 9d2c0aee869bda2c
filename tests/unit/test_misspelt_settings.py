"""Variables that nobody reads are told of, with the name that is likely meant."""

import pytest

from sluice.infrastructure.settings import misspelt
from tests.unit.test_settings import variables


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("SLUICE_PIPLINE", "SLUICE_PIPELINE"),
        ("SLUICE_SPEAKING_NODE", "SLUICE_SPEAKING_NODES"),
        ("SLUICE_CORS_ORIGIN", "SLUICE_CORS_ORIGINS"),
        ("SLUICE_JWKS", "SLUICE_JWT_JWKS"),
        ("Sluice_Pipline", "SLUICE_PIPELINE"),
        ("SLUCE_PORT", "SLUICE_PORT"),
        ("OPENAI_API_KY", "OPENAI_API_KEY"),
        ("OPENAI_BASEURL", "OPENAI_BASE_URL"),
        ("OPENAI_MODLE", "OPENAI_MODEL"),
        ("ENABLE_TOKEN_STREAMIMG", "ENABLE_TOKEN_STREAMING"),
    ],
)
def test_a_misspelt_variable_is_told_with_the_one_that_is_meant(name: str, nearest: str) -> None:
    assert list(misspelt({name: "a secret", "SLUICE_HOST": "h", "HOME": "/"})) == [
        f"{name.upper()} is no setting: is {nearest} meant?"
    ]


def test_one_that_is_like_no_other_is_told_all_the_same() -> None:
    assert list(misspelt({"SLUICE_XYZZY": "1"})) == ["SLUICE_XYZZY is no setting"]


@pytest.mark.parametrize(
    "name",
    [
        *("OPENAI_ORG_ID", "OPENAI_PROJECT_ID", "OPENAI_LOG", "OPENAI_API_BASE"),
        *("OPENAI_API_BASE_URL", "OPENAI_API_KEYS", "OPENAI_MODELS", "OPENAI_ADMIN_KEY"),
        *("AZURE_OPENAI_API_KEY", "ENABLE_STREAMING", "PORT", "_SLUICE_COMPLETE"),
    ],
)
def test_what_other_programs_read_is_none_of_ours(name: str) -> None:
    assert list(misspelt({name: "1"})) == []


def test_a_name_that_is_set_is_not_what_another_is_meant_for() -> None:
    assert list(misspelt({"OPENAI_API_KEY2": "1", "OPENAI_API_KEY": "2"})) == []
    assert list(misspelt({"SLUICE_PORTS": "1", "SLUICE_PORT": "2"})) != [
        "SLUICE_PORTS is no setting: is SLUICE_PORT meant?"
    ]


def test_nothing_is_said_of_what_is_read_or_empty() -> None:
    read = {*variables(), "SLUICE_ENABLE_TOKEN_STREAMING", "sluice_port"}
    assert list(misspelt({**dict.fromkeys(read, "1"), "SLUICE_NOTHING": ""})) == []
