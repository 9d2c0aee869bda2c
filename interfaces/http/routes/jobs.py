"""One answer in the making: looked at, or stopped."""

from fastapi import APIRouter

from sluice.interfaces.http.json_request import ApiRoute
from sluice.interfaces.http.models import Cancel, Given, Input, JobBody
from sluice.interfaces.http.problems import problems
from sluice.interfaces.http.routes.parameters import JobIdPath
from sluice.interfaces.http.services import ServicesDep, UserDep

routes = APIRouter(tags=["jobs"], route_class=ApiRoute)


@routes.head("/api/v1/jobs/{job_id}", include_in_schema=False)
@routes.get("/api/v1/jobs/{job_id}", responses=problems(401, 404, 503))
async def show_job(job_id: JobIdPath, services: ServicesDep, user: UserDep) -> JobBody:
    """A job as its log tells it now."""
    return JobBody.of(await services.show_job(user.id, job_id))


@routes.delete("/api/v1/jobs/{job_id}", status_code=202, responses=problems(401, 403, 404, 503))
async def cancel_job(job_id: JobIdPath, services: ServicesDep, user: UserDep) -> None:
    """Stop a job. One that is over stays as it ended."""
    await services.cancel(user.id, job_id)


@routes.post(
    "/api/v1/chat/{job_id}/input",
    status_code=202,
    responses=problems(400, 401, 403, 404, 409, 410, 413, 415, 422, 503),
)
async def give_input(job_id: JobIdPath, body: Input, services: ServicesDep, user: UserDep) -> None:
    """Answer what a job has asked, or stop it. The same answer again changes nothing."""
    match body:
        case Cancel():
            await services.cancel(user.id, job_id)
        case Given():
            await services.answer_input(user.id, job_id, **body.model_dump())
