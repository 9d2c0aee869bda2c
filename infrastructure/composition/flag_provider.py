"""Where the share comes from beside the environment: operators, and a flag provider.

The provider's libraries are an extra, and are imported only where they are used.
"""

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from sluice.application.rollout import ControlShare, ShareSource
from sluice.infrastructure.settings import Settings

if TYPE_CHECKING:
    from sluice.infrastructure.flags.openfeature import ProviderShare


def provider_of(settings: Settings) -> "ProviderShare | None":
    """None without a provider."""
    given = settings.flag_provider
    if given is None:
        return None
    from sluice.infrastructure.flags import openfeature as flags

    if given.url is not None:
        return flags.ProviderShare("ofrep", partial(flags.ofrep, given.url))
    if given.file is not None:
        return flags.ProviderShare("flagd", partial(flags.flagd_file, given.file))
    return flags.ProviderShare("flagd", partial(flags.flagd_server, given.host, given.port))


def sources_of(control: ControlShare, provider: "ProviderShare | None") -> Sequence[ShareSource]:
    """The first that says a share has said it."""
    return (control,) if provider is None else (control, provider)
