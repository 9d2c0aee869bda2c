"""The protocols by name: a new one needs its folder and a line here."""

from collections.abc import Mapping

from fastapi import APIRouter

from sluice.interfaces.protocols.ai_sdk import routes as ai_sdk
from sluice.interfaces.protocols.native import routes as native

PROTOCOLS: Mapping[str, APIRouter] = {"native": native.routes, "ai-sdk": ai_sdk.routes}
