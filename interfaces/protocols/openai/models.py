"""`GET /v1/models`: the pipeline, and the models that a request may name behind it."""

from typing import Any

from fastapi import APIRouter

from sluice.interfaces.http.services import Options
from sluice.interfaces.protocols.openai.frames import model_name
from sluice.interfaces.protocols.openai.requests import model_of
from sluice.interfaces.protocols.openai.serving import CallerDep, OpenAIRoute

routes = APIRouter(route_class=OpenAIRoute)


@routes.get("/v1/models")
async def list_models(caller: CallerDep) -> dict[str, Any]:
    """What there is to choose from. Where any model may be named, only the default is listed."""
    return {"object": "list", "data": [_model(name) for name in _names(caller.options)]}


@routes.get("/v1/models/{model:path}")
async def show_model(model: str, caller: CallerDep) -> dict[str, Any]:
    return _model(model_name(model_of(model, caller.options)))


def _names(options: Options) -> list[str]:
    """A choice of one is none."""
    models = sorted(options.models or ())
    return [model_name(model) for model in (None, *(models if len(models) > 1 else ()))]


def _model(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": 0, "owned_by": "sluice"}
