"""Stages as steps, of which no two of one name may be open at once."""

from typing import NamedTuple

from sluice.interfaces.protocols.ag_ui.events import event_of


class Step(NamedTuple):
    stage: str
    name: str


Steps = tuple[Step, ...]


def opened(steps: Steps, stage: str, told: list[str]) -> Steps:
    """A name that is open already gets a number."""
    number, name, names = 1, stage, [step.name for step in steps]
    while name in names:
        number += 1
        name = f"{stage}#{number}"
    told.append(event_of("STEP_STARTED", stepName=name))
    return (*steps, Step(stage, name))


def closed(steps: Steps, stage: str, told: list[str]) -> Steps:
    """Without the last one of the stage; one that was never opened is over at once."""
    if all(step.stage != stage for step in steps):
        steps = opened(steps, stage, told)
    last = [step for step in steps if step.stage == stage][-1]
    told.append(event_of("STEP_FINISHED", stepName=last.name))
    return tuple(step for step in steps if step != last)
