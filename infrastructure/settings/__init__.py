"""Every setting, read from the environment once, checked before anything starts."""

from sluice.infrastructure.settings.addresses import (
    FlagProvider,
    MemoryStore,
    RedisStore,
    SqliteStore,
    StoreAddress,
)
from sluice.infrastructure.settings.checks import check_environment, read_settings
from sluice.infrastructure.settings.misspelt import misspelt
from sluice.infrastructure.settings.model import Settings, WrongSetting

__all__ = [
    "FlagProvider",
    "MemoryStore",
    "RedisStore",
    "Settings",
    "SqliteStore",
    "StoreAddress",
    "WrongSetting",
    "check_environment",
    "misspelt",
    "read_settings",
]
