"""The protocols by name: a new one needs its folder and a line here."""

from collections.abc import Mapping

from fastapi import APIRouter

from sluice.interfaces.protocols.native import routes as native
from sluice.interfaces.protocols.openai import routes as openai

PROTOCOLS: Mapping[str, APIRouter] = {"native": native.routes, "openai": openai.routes}
