"""What the routes of the rollout take and show."""

import json
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Discriminator, Field, JsonValue, Tag

from sluice.application.rollout_changes import RolloutView, Steer
from sluice.domain.guard.figures import ArmFigures
from sluice.domain.guard.plan import Plan
from sluice.interfaces.http.models import Asked, FlagBody, Text
from sluice.interfaces.http.problems import wrong

Why = Annotated[Text, Field(max_length=500)] | None


class NewShare(Asked):
    """`share` is in percent; null gives it back to the flag provider or the environment."""

    share: Annotated[float, Field(ge=0, le=100, allow_inf_nan=False)] | None
    why: Why = None


class NewPlan(Asked):
    """A plan as its TOML file has it: a rollout begins with its first step."""

    plan: dict[str, JsonValue]
    why: Why = None

    def parsed(self) -> Plan:
        """Raises Problem 422, naming the field."""
        try:
            return Plan.parse(self.plan)
        except ValueError as error:
            field, _, message = str(error).partition(": ")
            raise wrong(f"plan.{field}", message) from None


class NewState(Asked):
    """`held`: no step is promoted. `running`: they are again. `stopped`: the guard is out."""

    state: Steer
    why: Why = None


def _kind(body: Any) -> str:
    given = body if isinstance(body, dict) else {}
    return "NewPlan" if "plan" in given else "NewState" if "state" in given else "NewShare"


Change = Annotated[
    Annotated[NewShare, Tag("NewShare")]
    | Annotated[NewPlan, Tag("NewPlan")]
    | Annotated[NewState, Tag("NewState")],
    Discriminator(_kind),
]


class ChangeBody(BaseModel):
    """`from` is the share that was in force before, whoever had set it.

    `state` is the plan's, null where there is none; `verdict` what the guard decided upon.
    """

    number: int
    at: datetime
    by: str
    before: float = Field(serialization_alias="from")
    after: float | None = Field(serialization_alias="to")
    why: str | None
    rollout: str
    state: str | None
    verdict: dict[str, JsonValue] | None


class PartBody(BaseModel):
    count: int
    of: int
    interval: tuple[float, float] | None


class QuantileBody(BaseModel):
    value: float
    low: float | None
    high: float | None


class ArmBody(BaseModel):
    """`bad` by metric; medians in seconds from admission. Intervals are of 95 %."""

    jobs: int
    users: int
    bad: dict[str, PartBody]
    first_character: QuantileBody | None
    answer: QuantileBody | None

    @classmethod
    def of(cls, arm: ArmFigures) -> "ArmBody":
        return cls.model_validate(arm, from_attributes=True)


class ShadowPathBody(BaseModel):
    """Of the pairs: how many failed on the path, medians in seconds from each run's beginning where
    both answered, and the tokens of the pairs that the upstream has counted on both."""

    failed: PartBody
    first_token: QuantileBody | None
    answer: QuantileBody | None
    input_tokens: int
    output_tokens: int


class ShadowBody(BaseModel):
    """What came of SLUICE_SHADOW: of the newest jobs that were drawn. `spent` are the last hour's
    upstream tokens, of `budget`; `unfinished` run now, or their process was killed."""

    share: float
    budget: int
    spent: int
    runs: int
    unfinished: int
    cancelled: int
    skipped: dict[str, int]
    same_text: PartBody
    same_stages: PartBody
    paths: dict[Literal["A1", "A2"], ShadowPathBody]


class PlanBody(BaseModel):
    """The plan as it was given, its `state`, and since when the present share is in force."""

    state: Literal["running", "held", "stepped_back", "stopped"]
    since: datetime | None
    steps: list[dict[str, JsonValue]]
    limits: dict[str, JsonValue]


class RolloutBody(FlagBody):
    """`environment` is what ENABLE_TOKEN_STREAMING says.

    `arms` has both arms' figures of the newest jobs, `guard` what the guard saw, newest first.
    `history` has the newest change first. It is null, as `arms` is, while their store is away.
    `shadow` is null where there are no shadows, too.
    """

    environment: str
    plan: PlanBody | None
    arms: dict[Literal["A1", "A2"], ArmBody] | None
    guard: list[dict[str, JsonValue]]
    shadow: ShadowBody | None
    history: list[ChangeBody] | None

    @classmethod
    def of(cls, view: RolloutView) -> "RolloutBody":
        environment, flag = view.environment, view.flag
        switch = "true" if environment.percent else "false"
        changes, arms = view.history, view.arms
        return cls(
            **FlagBody.model_validate(flag, from_attributes=True).model_dump(),
            environment=switch if environment.fixed else f"{environment.percent:g}%",
            plan=_plan(view),
            arms=None if arms is None else {arm: ArmBody.of(one) for arm, one in arms.items()},
            guard=[json.loads(look) for look in view.looks],
            shadow=view.shadow and ShadowBody.model_validate(view.shadow, from_attributes=True),
            history=None
            if changes is None
            else [ChangeBody.model_validate(one, from_attributes=True) for one in changes],
        )


def _plan(view: RolloutView) -> PlanBody | None:
    latest = view.latest
    if latest is None or latest.plan is None or latest.state is None:
        return None
    return PlanBody(state=latest.state, since=latest.since, **latest.plan.told())
