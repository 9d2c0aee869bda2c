"""The protocols by name: a new one needs its folder, a line here, and its name in the settings
(`Protocol` in infrastructure/settings/model.py).

The names are those of `SLUICE_PROTOCOLS`; our own protocol has none there, and is always served.
"""

from collections.abc import Collection, Mapping

from fastapi import APIRouter

from sluice.interfaces.protocols.ag_ui import routes as ag_ui
from sluice.interfaces.protocols.ai_sdk import routes as ai_sdk
from sluice.interfaces.protocols.copilotkit import routes as copilotkit
from sluice.interfaces.protocols.langgraph import routes as langgraph
from sluice.interfaces.protocols.native import routes as native
from sluice.interfaces.protocols.openai import routes as openai

PROTOCOLS: Mapping[str, APIRouter] = {
    "native": native.routes,
    "langgraph": langgraph.routes,
    "openai": openai.routes,
    "ai-sdk": ai_sdk.routes,
    "ag-ui": ag_ui.routes,
    "copilotkit": copilotkit.routes,
}


def routers(foreign: Collection[str]) -> list[APIRouter]:
    """The routes to serve when `foreign` protocols are wanted beside ours."""
    return [routes for name, routes in PROTOCOLS.items() if name == "native" or name in foreign]
