"""All routes of the protocol."""

from fastapi import APIRouter

from sluice.interfaces.protocols.openai import completions, models, responses

routes = APIRouter(include_in_schema=False)  # OpenAI documents it
for module in (models, completions, responses):
    routes.include_router(module.routes)
