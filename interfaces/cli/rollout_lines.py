"""What `sluice rollout status` prints of a plan, of both arms, and of what the guard saw."""

from collections.abc import Iterator
from typing import Any

_STATES = {
    "running": "runs",
    "held": "is held: no step is promoted, the guard still steps back",
    "stepped_back": "has stepped back: it ramps again only by hand",
    "stopped": "was stopped",
}


def plan_lines(body: Any) -> Iterator[str]:
    plan = body["plan"]
    if plan is not None:
        steps = " ".join(f"{step['share']:g}%" for step in plan["steps"])
        yield f"plan {steps}: {_STATES[plan['state']]}"


def arm_lines(body: Any) -> Iterator[str]:
    """A line for each arm that has had a job."""
    for arm, one in (body["arms"] or {}).items():
        if one["jobs"]:
            bad = ", ".join(f"{name} {_part(part)}" for name, part in one["bad"].items())
            first, answer = _seconds(one["first_character"]), _seconds(one["answer"])
            yield (
                f"{arm}: {one['jobs']} jobs of {one['users']} users: {bad};"
                f" first character {first}, answer {answer}"
            )


def guard_lines(body: Any) -> Iterator[str]:
    for look in body["guard"][:1]:
        yield f"guard at {look['at'][:19]}Z: {look['sentence']}"
        for name, value in look["evidence"].items():
            if needed := look["needed"][name]:
                yield f"  {name}: evidence {value:.3g} of {needed:.3g}"


def shadow_lines(body: Any) -> Iterator[str]:
    """What running some jobs once more on the other path has shown."""
    shadow = body["shadow"]
    if shadow is None:
        return
    alike = ", ".join(f"same {what} {_of(shadow[f'same_{what}'])}" for what in ("text", "stages"))
    yield (
        f"shadow of {shadow['share']:g} % of jobs: {shadow['runs']} runs: {alike};"
        f" {shadow['spent']} of {shadow['budget']} tokens this hour"
    )
    for path, one in shadow["paths"].items():
        if one["failed"]["of"]:
            first, answer = _seconds(one["first_token"]), _seconds(one["answer"])
            tokens = f"{one['input_tokens']} + {one['output_tokens']} tokens"
            failed = _part(one["failed"])
            yield f"  {path}: failed {failed}; first token {first}, answer {answer}; {tokens}"
    left = {name: shadow[name] for name in ("unfinished", "cancelled") if shadow[name]}
    if told := ", ".join(
        f"{name} {count}" for name, count in {**left, **shadow["skipped"]}.items()
    ):
        yield f"  without a result: {told}"


def _of(part: Any) -> str:
    return f"{part['count']} of {part['of']}"


def _part(part: Any) -> str:
    if part["interval"] is None:
        return "-"
    low, high = part["interval"]
    return f"{part['count']} ({low:.1%} to {high:.1%})"


def _seconds(quantile: Any) -> str:
    return "-" if quantile is None else f"{quantile['value']:.2f} s"
