"""A rollout's plan: its steps, what each asks for, and what the guard watches."""

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from decimal import Decimal, InvalidOperation
from itertools import pairwise
from math import inf
from typing import Any, get_args

from sluice.domain.guard.rules import Limits, Watched

_ANY = "any"
"""The ratio of whoever asks for no proof that A2 is not worse."""
_WORDS = {"alpha", "margin", "ratio", "split_alpha", "ill", "weights"} | {
    "late_seconds",
    "slow_seconds",
    "slow_part",
}


@dataclass(frozen=True, slots=True)
class PlanStep:
    """A share in percent, for so many `seconds` and so many `users` in each arm at least."""

    share: float
    seconds: float = 3600
    users: int = 100


@dataclass(frozen=True, slots=True)
class Plan:
    """`late` is the seconds within which a whole answer has to come, and None watches none.

    `slow` is the seconds within which A2's first character has to reach a reader, but for the part
    `slow_part` of the users; None watches none.
    """

    steps: tuple[PlanStep, ...]
    limits: Limits = field(default_factory=Limits)
    late: float | None = None
    slow: float | None = None
    slow_part: Decimal = Decimal("0.05")

    def limits_at(self, share: float) -> Limits:
        """Where the share is no step of the plan, with what its first one asks for."""
        step = next((one for one in self.steps if one.share == share), self.steps[0])
        return replace(self.limits, seconds=step.seconds, users=step.users)

    @property
    def shares(self) -> tuple[float, ...]:
        return tuple(step.share for step in self.steps)

    @classmethod
    def parse(cls, given: object) -> "Plan":
        """What a TOML or JSON document holds. Raises ValueError, naming the field."""
        plan = _table(given, "the plan", {"steps", "limits"})
        steps = plan.get("steps")
        if not isinstance(steps, list) or not steps:
            raise ValueError("steps: lists at least one step")
        parsed = tuple(_step(one, f"steps[{place}]") for place, one in enumerate(steps))
        for place, (before, after) in enumerate(pairwise(parsed), 1):
            if after.share <= before.share:
                raise ValueError(f"steps[{place}].share: is not above the one before")
        limits = _table(plan.get("limits", {}), "limits", _WORDS)
        late, slow = (_optional(limits, name) for name in ("late_seconds", "slow_seconds"))
        part = _decimal(limits, "slow_part", Decimal("0.05"), Decimal(), Decimal(1))
        return cls(parsed, _limits(limits), late, slow, part)

    def told(self) -> dict[str, Any]:
        """What `parse` reads: for JSON."""
        limits = self.limits
        found: dict[str, Any] = {
            "alpha": float(limits.alpha),
            "margin": float(limits.margin),
            "ratio": _ANY if limits.ratio == inf else limits.ratio,
            "split_alpha": float(limits.split_alpha),
            "ill": limits.ill,
            "slow_part": float(self.slow_part),
        }
        if limits.weights is not None:
            found["weights"] = {name: float(part) for name, part in limits.weights.items()}
        within = {"late_seconds": self.late, "slow_seconds": self.slow}
        found |= {name: seconds for name, seconds in within.items() if seconds is not None}
        steps = [{"share": s.share, "seconds": s.seconds, "users": s.users} for s in self.steps]
        return {"steps": steps, "limits": found}


def _step(given: object, where: str) -> PlanStep:
    table = _table(given, where, {"share", "seconds", "users"}, f"{where}.")
    share = _number(table, "share", None, 0, 100, f"{where}.")
    if not share:
        raise ValueError(f"{where}.share: is above 0")
    users = table.get("users", 100)
    if not isinstance(users, int) or isinstance(users, bool) or users < 0:
        raise ValueError(f"{where}.users: is a number of users")
    return PlanStep(share, _number(table, "seconds", 3600, 0, 1e9, f"{where}."), users)


def _limits(table: Mapping[str, Any]) -> Limits:
    """The margin stays below every ratio that evidence is looked for."""
    given = table.get("weights")
    weights: dict[Watched, Decimal] | None = None
    if given is not None:
        names: tuple[Watched, ...] = get_args(Watched)
        named = _table(given, "limits.weights", names, "limits.weights.")
        zero, one = Decimal(), Decimal(1)
        weights = {
            name: _decimal(named, name, zero, zero, one, "limits.weights.") for name in names
        }
    try:
        return Limits(
            alpha=_decimal(table, "alpha", Decimal("0.05"), Decimal("1e-9"), Decimal("0.5")),
            weights=weights,
            margin=_decimal(table, "margin", Decimal("0.1"), Decimal(), Decimal("0.24")),
            ratio=inf if table.get("ratio") == _ANY else _number(table, "ratio", 2.0, 1, 1e6),
            split_alpha=_decimal(
                table, "split_alpha", Decimal("0.001"), Decimal("1e-9"), Decimal("0.5")
            ),
            ill=_number(table, "ill", 0.2, 0, 1),
        )
    except ValueError as error:
        if str(error).startswith("limits."):
            raise
        raise ValueError(f"limits.weights: {error}") from None


def _table(
    given: object, where: str, known: Iterable[str], prefix: str | None = None
) -> Mapping[str, Any]:
    if not isinstance(given, Mapping):
        raise ValueError(f"{where}: is a table")  # noqa: TRY004 - a wrong value, like the others
    names = set(known)
    for name in given:
        if name not in names:
            before = prefix if prefix is not None else "" if where == "the plan" else f"{where}."
            raise ValueError(f"{before}{name}: is not known")
    return given


def _number(
    table: Mapping[str, Any],
    name: str,
    default: float | None,
    least: float,
    most: float,
    prefix: str = "limits.",
) -> float:
    value = table.get(name, default)
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not least <= value <= most:
        raise ValueError(f"{prefix}{name}: is a number from {least:g} to {most:g}")
    return float(value)


def _optional(table: Mapping[str, Any], name: str) -> float | None:
    return None if name not in table else _number(table, name, None, 0, 1e9)


def _decimal(
    table: Mapping[str, Any],
    name: str,
    default: Decimal,
    least: Decimal,
    most: Decimal,
    prefix: str = "limits.",
) -> Decimal:
    """By the digits that it is written with."""
    with suppress(InvalidOperation):  # also of what compares to nothing, as NaN
        number = Decimal(str(table.get(name, default)))
        if least <= number <= most:
            return number
    raise ValueError(f"{prefix}{name}: is a number from {least:g} to {most:g}")
