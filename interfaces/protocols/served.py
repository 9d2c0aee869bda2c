"""The protocols by name: a new one needs its folder and a line here."""

from collections.abc import Mapping

from fastapi import APIRouter

from sluice.interfaces.protocols.ag_ui import routes as ag_ui
from sluice.interfaces.protocols.ai_sdk import routes as ai_sdk
from sluice.interfaces.protocols.copilotkit import routes as copilotkit
from sluice.interfaces.protocols.native import routes as native

PROTOCOLS: Mapping[str, APIRouter] = {
    "native": native.routes,
    "ai-sdk": ai_sdk.routes,
    "ag-ui": ag_ui.routes,
    "copilotkit": copilotkit.routes,
}
